"""What people should know of the model, beside the figures: it goes into the manifest, which is the model card."""

from __future__ import annotations

from collections.abc import Mapping

from app.contract.manifest import License
from training.kit.card import Card
from training.recipes.sentiment.config import DataConfig


def film_reviews(data: DataConfig, splits: Mapping[str, int]) -> Card:
    """`splits` are the reviews of each."""
    read, tail_tokens = splits["train"] + splits["unlabelled"], data.max_tokens - data.head_tokens
    return Card(
        title="Sentiment of film reviews",
        description=(
            f"Says whether an English film review praises or blames. One LSTM, pre-trained as a language model on {read:,} reviews "
            f"and fine-tuned on {splits['train']:,} labelled ones, beside a linear model of words and word pairs "
            "and triples, added in one graph."
        ),
        license=License(
            name="MIT",
            notice=(
                "Trained on the Large Movie Review Dataset (Maas et al. 2011), whose authors ask to be cited. "
                "No review is part of the weights' files."
            ),
        ),
        intended_use="English reviews of films, from one sentence to a few pages. To sort and to summarise opinions, not to judge people.",
        limitations=(
            "Trained on reviews that are clearly for or against (1 to 4 or 7 to 10 stars of 10): it knows no neutral class. A neutral text "
            "gets a probability somewhere in the middle, but not reliably.",
            "Reviews of other things than films, other languages, irony and quoted opinions are outside of what it was tested on.",
            f"A text of more than {data.max_tokens} tokens is read by its first {data.head_tokens} and its last {tail_tokens}.",
            "Short sentences were taught by a small grammar of our own, so idioms beyond it can be misread.",
            "Names of actors, countries and genres carry sentiment in the training reviews, and so they do here.",
        ),
    )


SYNTHETIC = Card(
    title="Sentiment (synthetic, for tests)",
    description="A tiny run on sentences that a program strung together. It proves that the code runs, and knows nothing of reviews.",
    license=License(name="MIT"),
    intended_use="Tests.",
    limitations=("It has never read a review.",),
)
