"""What people should know of the model, beside the figures: it goes into the manifest, which is the model card."""

from __future__ import annotations

from app.contract.manifest import License
from training.kit.card import Card

FILM_REVIEWS = Card(
    title="Sentiment of film reviews",
    description=(
        "Says whether an English film review praises or blames. One LSTM, pre-trained as a language model on 72,700 reviews and "
        "fine-tuned on 22,700 labelled ones, beside a linear model of words and word pairs and triples, added in one graph."
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
        "A text of more than 512 tokens is read by its first 192 and its last 320.",
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
