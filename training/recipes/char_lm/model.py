"""The network. Letters: B sequences, T characters, E embedding, L layers, H hidden, V characters of the alphabet."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from training.recipes.char_lm.config import NetConfig


class CharLSTM(nn.Module):
    """Predicts the next character from all before it (Hochreiter & Schmidhuber 1997; Karpathy 2015).

    The state is one tensor (B, 2L, H), h and c of the first layer, then of the next, so that a sequence's state is one row.
    """

    def __init__(self, config: NetConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary_size, config.embedding)
        widths = [config.embedding, *[config.hidden] * (config.layers - 1)]
        self.layers = nn.ModuleList(nn.LSTM(width, config.hidden, batch_first=True) for width in widths)
        self.head = nn.Linear(config.hidden, vocabulary_size)
        self._initialise()

    def _initialise(self) -> None:
        """Orthogonal recurrence (Saxe et al. 2013), and gates that remember at first (Jozefowicz et al. 2015)."""
        nn.init.normal_(self.embedding.weight, std=0.5)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        for layer in self.layers:
            hidden = self.config.hidden
            nn.init.xavier_uniform_(layer.weight_ih_l0)
            for gate in layer.weight_hh_l0.data.split(hidden):
                nn.init.orthogonal_(gate)
            nn.init.zeros_(layer.bias_ih_l0)
            nn.init.zeros_(layer.bias_hh_l0)
            layer.bias_ih_l0.data[hidden : 2 * hidden] = 1.0  # the forget gate

    def zero_state(self, batch: int) -> Tensor:
        """What the network knows before the first character: nothing."""
        return self.head.weight.new_zeros(batch, 2 * self.config.layers, self.config.hidden)  # (B, 2L, H)

    def forward(self, input_ids: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, T, V) of the character after each, and the state after the last one."""
        config = self.config
        hidden = F.dropout(self.embedding(input_ids), config.input_dropout, self.training)  # (B, T) -> (B, T, E)
        before = state.transpose(0, 1).contiguous().split(1)  # 2L tensors (1, B, H)
        after: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            if number > 0:
                hidden = F.dropout(hidden, config.hidden_dropout, self.training)
            hidden, (h, c) = self._read(layer, hidden, (before[2 * number], before[2 * number + 1]))  # (B, T, E or H) -> (B, T, H)
            after += [h.float(), c.float()]  # in half precision a state would lose what it carries
        hidden = F.dropout(hidden, config.output_dropout, self.training)
        return self.head(hidden), torch.cat(after).transpose(0, 1)  # (B, T, H) -> (B, T, V); (2L, B, H) -> (B, 2L, H)

    def _read(self, layer: nn.Module, hidden: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One layer over a chunk, in training with some of its recurrent weights dropped for the whole chunk."""
        if not self.training or self.config.weight_drop == 0:
            return layer(hidden, state)
        dropped = F.dropout(layer.weight_hh_l0, self.config.weight_drop)
        return functional_call(layer, {"weight_hh_l0": dropped}, (hidden, state))
