"""SYNTHETIC reviews for the tiny preset: sentences of `phrases.py` strung together.

They prove that the code runs, nothing about film reviews.
"""

from __future__ import annotations

import numpy as np

from training.recipes.sentiment.phrases import FACT, phrases
from training.recipes.sentiment.reviews import NEGATIVE, POSITIVE, UNLABELLED, Review


def synthetic_reviews(count: int, seed: int) -> list[Review]:
    """`count` labelled training reviews, as many unlabelled ones and half as many for the test."""
    draw = np.random.default_rng(seed)
    kinds = phrases()
    sentences = kinds["verdict"] | kinds["praise"] | kinds["blame"] | kinds["fact"]  # negation would want more than a tiny run
    pools = {
        POSITIVE: [sentence for sentence, target in sentences.items() if target > FACT],
        NEGATIVE: [sentence for sentence, target in sentences.items() if target < FACT],
    }
    facts = [sentence for sentence, target in sentences.items() if target == FACT]
    reviews = []
    for part, share, known in (("train", 1.0, True), ("train", 1.0, False), ("test", 0.5, True)):
        for number in range(round(count * share)):
            label = int(draw.integers(2))
            text = ". ".join(
                draw.choice(pools[label] if draw.random() < 0.6 else facts) if draw.random() < 0.9 else draw.choice(pools[1 - label])
                for _ in range(draw.integers(3, 12))
            )
            stars = (2, 9)[label] if known else 0
            reviews.append(Review(part, label if known else UNLABELLED, number, stars, f"{text}."))
    return reviews
