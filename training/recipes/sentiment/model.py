"""The network. Letters: B reviews, T tokens, E embedding, H hidden, V vocabulary, N n-gram orders."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.recipes.sentiment.config import FinetuneConfig, NetConfig, PretrainConfig
from training.recipes.sentiment.losses import sampled_softmax
from training.recipes.sentiment.tokenizer import PAD_ID


class Reader(nn.Module):
    """Embedding and one forward LSTM: what the language model learns and the classifier starts from."""

    def __init__(self, config: NetConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, config.embedding, padding_idx=PAD_ID)
        self.lstm = nn.LSTM(config.embedding, config.hidden, batch_first=True)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.embedding.weight[PAD_ID])

    def zero_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """What the LSTM knows before a review's first word: nothing."""
        zeros = self.embedding.weight.new_zeros(1, batch, self.lstm.hidden_size)  # (1, B, H)
        return zeros, zeros


class LockedDropout(nn.Module):
    """Drops the same features at every step of a review (Gal & Ghahramani 2016), which is also cheap to draw."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, states: Tensor) -> Tensor:  # (B, T, features)
        if not self.training or self.probability == 0:
            return states
        kept = states.new_empty(states.shape[0], 1, states.shape[2]).bernoulli_(1 - self.probability)  # (B, 1, features)
        return states * (kept / (1 - self.probability))


class LanguageModel(nn.Module):
    """Predicts the next word, and at each word what the teacher thinks of the whole review."""

    def __init__(self, reader: Reader, config: PretrainConfig) -> None:
        super().__init__()
        vocabulary_size, embedding = reader.embedding.weight.shape
        self.config = config
        self.reader = reader
        self.dropout = LockedDropout(config.dropout)
        self.projection = nn.Linear(reader.lstm.hidden_size, embedding)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))  # the output words share the input's embedding
        self.verdict = nn.Linear(reader.lstm.hidden_size, 1)

    def forward(
        self,
        inputs: Tensor,  # (B, T) ids; PAD_ID after a review's end
        targets: Tensor,  # (B, T) the words that follow; PAD_ID where there is none
        teacher: Tensor,  # (B,) probability of "positive"
        negatives: Tensor,  # (S,) sampled ids
        log_expected: Tensor,  # (S,) log of how often each was expected among S draws
        state: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Sums over words of the language model's and of the verdict's loss, in nats, and the state that the next chunk starts from."""
        embedded = self.dropout(self.reader.embedding(inputs))  # (B, T) -> (B, T, E)
        hidden, state = self.reader.lstm(embedded, state)  # (B, T, H)
        known = targets != PAD_ID  # (B, T)
        hidden = self.dropout(hidden)[known]  # (words, H)
        language = sampled_softmax(
            self.projection(hidden), targets[known], self.reader.embedding.weight, self.bias, self.config.frequent, negatives, log_expected
        )
        opinion = self.verdict(hidden).squeeze(1)  # (words, H) -> (words,)
        opinion_target = teacher[:, None].expand_as(targets)[known]
        verdict = nn.functional.binary_cross_entropy_with_logits(opinion, opinion_target, reduction="sum")
        return language, verdict, (state[0].detach(), state[1].detach())


class Classifier(nn.Module):
    """The deep part: one logit of "positive" from the LSTM's states over the whole review, pooled three ways."""

    def __init__(self, reader: Reader, verdict: nn.Linear, config: FinetuneConfig) -> None:
        super().__init__()
        hidden = reader.lstm.hidden_size
        self.reader = reader
        self.embedding_dropout = LockedDropout(config.embedding_dropout)
        self.head_dropout = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(3 * hidden, 1)
        with torch.no_grad():  # start from the verdict that pre-training learned to give at the last word
            self.head.weight.zero_()
            self.head.weight[:, 2 * hidden :] = verdict.weight
            self.head.bias.copy_(verdict.bias)

    def forward(self, input_ids: Tensor, lengths: Tensor, shift: Tensor | None = None) -> Tensor:
        embedded = self.reader.embedding(input_ids)  # (B, T) -> (B, T, E)
        if shift is not None:  # (B, T, E)
            embedded = embedded + shift
        return self.classify(embedded, lengths)  # (B, T, E) -> (B,)

    def classify(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        hidden, _ = self.reader.lstm(self.embedding_dropout(embedded))  # (B, T, H); padding is at the right: no word sees it
        pooled = pool(hidden, lengths)  # (B, T, H) -> (B, 3H)
        logits: Tensor = self.head(self.head_dropout(pooled)).squeeze(1)  # (B, 3H) -> (B,)
        return logits


def pool(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Mean, maximum and last state over the words, padding masked: (B, T, H), (B,) -> (B, 3H)."""
    real = (torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]).unsqueeze(2)  # (B, T, 1)
    hidden = hidden.float()  # the sum over hundreds of words stays exact under bfloat16
    mean = (hidden * real).sum(dim=1) / lengths[:, None]  # (B, T, H) -> (B, H)
    maximum = hidden.masked_fill(~real, -2.0).amax(dim=1)  # (B, H); an LSTM's states lie in [-1, 1]
    last = hidden.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, hidden.shape[2])).squeeze(1)  # (B, H)
    return torch.cat([mean, maximum, last], dim=1)
