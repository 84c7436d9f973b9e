"""The network over T characters of B sequences of unequal lengths, state in and state out. `quantized.py` has it in int8, as exported.

Letters: B sequences, T characters, E embedding, L layers, H hidden, V characters of the alphabet.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from training.kit.export import OPSET
from training.recipes.char_lm.model import CharLSTM


class Step(nn.Module):
    """`input_ids` (B, T) padded on the right, `lengths` (B,), `state` (B, 2L, H) -> `logits` (B, T, V), `next_state` (B, 2L, H)."""

    def __init__(self, network: CharLSTM) -> None:
        super().__init__()
        self.embedding, self.head = network.embedding, network.head
        self.layers = nn.ModuleList(OnnxLSTM(layer) for layer in network.layers)

    def forward(self, input_ids: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.embedding(input_ids.transpose(0, 1))  # (T, B) -> (T, B, E)
        lengths = lengths.to(torch.int32)
        before = state.transpose(0, 1).split(1)  # 2L tensors (1, B, H)
        after: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            hidden, h, c = layer(hidden, lengths, before[2 * number], before[2 * number + 1])  # (T, B, E or H) -> (T, B, H)
            after += [h, c]
        logits = self.head(hidden.transpose(0, 1))  # (T, B, H) -> (B, T, V)
        return logits, torch.cat(after).transpose(0, 1)  # (2L, B, H) -> (B, 2L, H)


class OnnxLSTM(nn.Module):
    """A layer's weights in ONNX's order of gates: input, output, forget, cell (PyTorch's: input, forget, cell, output)."""

    def __init__(self, layer: nn.LSTM) -> None:
        super().__init__()
        self.w: Tensor
        self.r: Tensor
        self.b: Tensor
        self.register_buffer("w", onnx_order(layer.weight_ih_l0))  # (1, 4H, E)
        self.register_buffer("r", onnx_order(layer.weight_hh_l0))  # (1, 4H, H)
        self.register_buffer("b", torch.cat([onnx_order(layer.bias_ih_l0), onnx_order(layer.bias_hh_l0)], dim=1))  # (1, 8H)

    def forward(self, hidden: Tensor, lengths: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.ops.axon.lstm(hidden, self.w, self.r, self.b, lengths, h, c)


def onnx_order(weights: Tensor) -> Tensor:
    """(4H, ...) of PyTorch to (1, 4H, ...) of ONNX."""
    i, f, g, o = weights.detach().chunk(4)
    return torch.cat([i, o, f, g]).unsqueeze(0)


@torch.library.custom_op("axon::lstm", mutates_args=())
def lstm(x: Tensor, w: Tensor, r: Tensor, b: Tensor, lengths: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ONNX's operator LSTM, by its equations: a sequence's state stays as it is after its own length, and its outputs there are zeros.

    The exporter's own way with lengths sorts the sequences and back, dozens of nodes a layer at every step; here it is one node.
    """
    h, c, states = h[0], c[0], []
    b_input, b_recurrent = b[0].chunk(2)
    for t in range(len(x)):
        i, o, f, g = (x[t] @ w[0].T + h @ r[0].T + b_input + b_recurrent).chunk(4, dim=1)  # (B, H) each
        alive = (t < lengths).unsqueeze(1)  # (B, 1)
        c = torch.where(alive, f.sigmoid() * c + i.sigmoid() * g.tanh(), c)
        h = torch.where(alive, o.sigmoid() * c.tanh(), h)
        states.append(h * alive)
    return torch.stack(states), h.unsqueeze(0), c.unsqueeze(0)


def _lstm_node(graph: Any, x: Any, w: Any, r: Any, b: Any, lengths: Any, h: Any, c: Any) -> tuple[Any, Any, Any]:
    hidden_size = r.type().sizes()[2]
    states, h, c = graph.op("LSTM", x, w, r, b, lengths, h, c, hidden_size_i=hidden_size, outputs=3)
    return graph.op("Squeeze", states, graph.op("Constant", value_t=torch.tensor([1]))), h, c  # (T, 1 direction, B, H)


torch.onnx.register_custom_op_symbolic("axon::lstm", _lstm_node, OPSET)
