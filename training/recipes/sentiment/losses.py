"""The language model's loss over a sample of the vocabulary: a full softmax would cost more than the LSTM."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sampled_softmax(
    queries: Tensor,  # (N, E)
    targets: Tensor,  # (N,) ids
    embedding: Tensor,  # (V, E), ids ordered by falling frequency
    bias: Tensor,  # (V,)
    frequent: int,
    negatives: Tensor,  # (S,) ids >= frequent, drawn with replacement
    log_expected: Tensor,  # (S,) log(S * probability of the draw)
) -> Tensor:
    """Sum of -log p(target), in nats, with the partition function estimated by importance sampling (Jean et al. 2015).

    The `frequent` first words are scored exactly; the rest is estimated from the negatives. With every word
    among the frequent ones this is the full softmax.
    """
    candidates = torch.cat([torch.arange(frequent, device=targets.device), negatives])  # (F + S,)
    logits = F.linear(queries, embedding[candidates], bias[candidates])  # (N, E) -> (N, F + S)
    correction = torch.cat([log_expected.new_zeros(frequent), log_expected])
    logits = (logits - correction).masked_fill(targets[:, None] == candidates, -torch.inf)
    true = (queries * embedding[targets]).sum(dim=1) + bias[targets]  # (N,)
    total = torch.logsumexp(torch.cat([true[:, None], logits], dim=1), dim=1)  # (N, 1 + F + S) -> (N,)
    return (total - true).sum()


class NegativeSampler:
    """Draws words beyond the `frequent` first ones by their frequency to the power 0.75 (Mikolov et al. 2013)."""

    def __init__(self, counts: Tensor, frequent: int, sampled: int) -> None:
        self.frequent = frequent
        self.sampled = sampled
        weights = counts[frequent:].double().clamp(min=1) ** 0.75
        self.probabilities = weights / weights.sum()

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Ids (S,) and the log of their expected counts (S,)."""
        if len(self.probabilities) == 0:
            return torch.empty(0, dtype=torch.long), torch.empty(0)
        drawn = torch.multinomial(self.probabilities, self.sampled, replacement=True, generator=generator)
        return drawn + self.frequent, torch.log(self.sampled * self.probabilities[drawn]).float()


def adversarial_shift(gradient: Tensor, embedded: Tensor, norm: float) -> Tensor:
    """The step in the embeddings of a review, (B, T, E), that raises its loss the most (Miyato et al. 2017).

    Where we differ: they scale all embeddings to unit variance; we scale the step's length by their root mean square.
    """
    size = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None]  # (B, 1, 1)
    return norm * embedded.square().mean().sqrt() * gradient / size
