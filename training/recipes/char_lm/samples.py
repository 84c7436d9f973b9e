"""What the model writes, and three questions about it: how varied, are the words real, is it copied."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from app.contract.sampling import Sampler, SamplingOptions
from app.contract.text import CharTokenizer
from training.recipes.char_lm.scoring import Reader

WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")


def write(reader: Reader, tokenizer: CharTokenizer, start: str, count: int, length: int, temperature: float) -> list[str]:
    """`count` texts of `length` characters that go on from `start`, which is not shown; the seeds are 0, 1, ..."""
    prompt = tokenizer.encode(start)
    sampler = Sampler(count, tokenizer.vocabulary_size)
    for seed in range(count):
        sampler.add(SamplingOptions(temperature=temperature, seed=seed), prompt)
    logits, state = reader.read(np.tile(prompt, (count, 1)), reader.zero_state(count))
    chosen = [sampler.sample(logits[:, -1])]
    while len(chosen) < length:
        logits, state = reader.read(chosen[-1][:, None], state)
        chosen.append(sampler.sample(logits[:, -1]))
    return [tokenizer.decode(ids) for ids in np.stack(chosen, axis=1)]


def describe(texts: Sequence[str], training_text: str, vocabulary: frozenset[str]) -> dict[str, float]:
    """The three answers for these texts together."""
    distinct = {f"distinct_{n}": round(distinct_share(texts, n), 4) for n in (1, 2, 3)}
    return {**distinct, "real_words": round(real_words(texts, vocabulary), 4), "longest_copy": longest_copy(texts, training_text)}


def words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def distinct_share(texts: Sequence[str], n: int) -> float:
    """Different runs of n words among all of them (Li et al. 2016, arXiv:1510.03055). It falls with the length: compare equal ones."""
    runs = [run for text in texts for run in zip(*(words(text)[i:] for i in range(n)), strict=False)]
    return len(set(runs)) / max(len(runs), 1)


def real_words(texts: Sequence[str], vocabulary: frozenset[str]) -> float:
    """Share of the words that occur in the training text."""
    written = [word for text in texts for word in words(text)]
    return sum(word in vocabulary for word in written) / max(len(written), 1)


def longest_copy(texts: Sequence[str], training_text: str) -> int:
    """Characters of the longest run that stands in the training text word for word."""
    longest = 0
    for text in texts:
        for start in range(len(text)):
            while start + longest < len(text) and text[start : start + longest + 1] in training_text:
                longest += 1
    return longest
