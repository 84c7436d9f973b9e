"""The network that is served: int8 weights, and answers that do not depend on the batch, to the last bit.

ONNX Runtime's own `DynamicQuantizeLSTM` takes the scale of its activations from the whole batch, so that a sequence
would read differently among others than alone. An LSTM's outputs lie in (-1, 1): their scale can be fixed, and a
product of integers has no rounding whose order matters. The first layer's product with the embedded character is a row
of a table, computed once; the states themselves and everything between the products stay in float32.

Letters: B sequences, T characters, L layers, H hidden, V characters of the alphabet, K inputs of a product, 4H gates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.recipes.char_lm.model import CharLSTM

STEPS_PER_UNIT, ZERO_POINT = 127, 128  # an activation a is stored as round(127 a) + 128, one byte
WEIGHT_LIMIT = 63  # seven bits: where there is no VNNI, the sum of two products of a byte and a weight has 16 bits


class QuantizedStep(nn.Module):
    """What graph.py writes, in PyTorch: `input_ids` (B, T), `lengths` (B,), `state` (B, 2L, H) -> `logits` (B, T, V), `next_state`."""

    def __init__(self, network: CharLSTM, weight_limit: int = WEIGHT_LIMIT) -> None:
        super().__init__()
        first, *above = network.layers
        self.head = network.head
        with torch.no_grad():
            table = network.embedding.weight @ first.weight_ih_l0.T + bias(first)  # (V, 4H)
        self.table: Tensor
        self.register_buffer("table", in_gate_order(table.T).T.contiguous())
        products = [first.weight_hh_l0, *(torch.cat([layer.weight_ih_l0, layer.weight_hh_l0], dim=1) for layer in above)]
        self.products = nn.ModuleList(IntegerProduct(in_gate_order(weights), weight_limit) for weights in products)
        self.biases = nn.ParameterList(nn.Parameter(in_gate_order(bias(layer)), requires_grad=False) for layer in above)

    def forward(self, input_ids: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        states = list(state.unbind(1))  # h, c of the first layer, h, c of the next: (B, H) each
        outputs = []
        for t in range(input_ids.shape[1]):
            alive = (t < lengths).unsqueeze(1)  # (B, 1)
            new = self.step(input_ids[:, t], states)
            states = [torch.where(alive, after, before) for after, before in zip(new, states, strict=True)]
            outputs.append(new[-2])
        return self.head(torch.stack(outputs, dim=1)), torch.stack(states, dim=1)  # (B, T, H) -> (B, T, V); (B, 2L, H)

    def step(self, ids: Tensor, states: list[Tensor]) -> list[Tensor]:
        """One character (B,) of every sequence."""
        new: list[Tensor] = []
        for number, product in enumerate(self.products):
            h, c = states[2 * number : 2 * number + 2]
            x = torch.cat([new[-2], h], dim=1) if number else h  # (B, K)
            known = self.biases[number - 1] if number else self.table[ids]
            i, o, f, g = (product(x) + known).chunk(4, dim=1)  # (B, 4H)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            new += [o.sigmoid() * c.tanh(), c]
        return new


class IntegerProduct(nn.Module):
    """x (B, K) in (-1, 1) times weights (4H, K), both in steps: a weight's step is its output's own."""

    def __init__(self, weights: Tensor, limit: int) -> None:
        super().__init__()
        scale = weights.abs().amax(dim=1) / limit  # (4H,)
        self.weights: Tensor
        self.scale: Tensor
        self.register_buffer("weights", (weights / scale[:, None]).round().to(torch.int8).T.contiguous())  # (K, 4H)
        self.register_buffer("scale", scale / STEPS_PER_UNIT)

    def forward(self, x: Tensor) -> Tensor:
        steps = (x * STEPS_PER_UNIT).round().clamp(-ZERO_POINT, STEPS_PER_UNIT)
        return (steps @ self.weights.float()) * self.scale  # whole numbers below 2**24: float32 holds them exactly


def bias(layer: nn.LSTM) -> Tensor:
    return (layer.bias_ih_l0 + layer.bias_hh_l0).detach()


def in_gate_order(weights: Tensor) -> Tensor:
    """Gates (4H, ...) from PyTorch's input, forget, cell, output to input, output, forget, cell: three sigmoids side by side."""
    i, f, g, o = weights.detach().chunk(4)
    return torch.cat([i, o, f, g])
