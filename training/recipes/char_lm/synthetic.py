"""SYNTHETIC text for the tests: sentences that a little grammar strings together. It is nobody's prose."""

from __future__ import annotations

import random

WHO = ("the miller", "a grey horse", "her brother", "the old judge", "nobody", "my neighbour")
DOES = ("counts", "forgets", "paints", "would sell", "hides", "follows")
WHAT = ("three lamps", "the river", "an empty chair", "every letter", "his coat", "the road")
WHEN = ("at noon", "in winter", "again", "without a word", "before the rain", "twice")


def write(length: int, seed: int) -> str:
    """`length` characters of paragraphs, the same for the same seed."""
    draw = random.Random(seed)
    paragraphs: list[str] = []
    written = 0
    while written < length:
        paragraphs.append(" ".join(_sentence(draw) for _ in range(draw.randint(1, 4))) + "\n")
        written += len(paragraphs[-1])
    return "".join(paragraphs)[:length]


def _sentence(draw: random.Random) -> str:
    sentence = " ".join(draw.choice(words) for words in (WHO, DOES, WHAT, WHEN))
    return sentence[0].upper() + sentence[1:] + draw.choice(".!?")
