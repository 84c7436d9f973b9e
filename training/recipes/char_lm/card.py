"""What people should know of each model, beside the figures: it goes into the manifest, which is the model card."""

from __future__ import annotations

from datetime import UTC, datetime

from app.contract.manifest import License
from training.kit.card import Card, in_words

INTENDED_USE = "To play with, to teach how a language model works, and to try the API with something small that really writes."
LIKE_ITS_SOURCE = (
    "It knows letters, not facts: what it writes has the sound of its source and no meaning to rely on.",
    "It holds a sentence together, hardly a paragraph: after a few hundred characters nothing is left of the prompt.",
    "A prompt may hold only the characters of its alphabet, which is in the manifest; any other is refused.",
    "Its words, names and views are those of its source and its time; it can also repeat lines of it word for word (see longest_copy).",
)
FLATTERED = "Its figure is a little flattered: how long it trained was decided by the last 10 % of the text, on which it is also measured."
TOLD = {  # the runs behind the shipped weights, by when they ended: of them more is known than a preset can say
    datetime(2026, 11, 25, 14, 28, 59, tzinfo=UTC): (
        "Its figure is a little flattered: a first run of 8 epochs ended at 1.285 nats per character, and because that missed the target "
        "of 1.25 it went on for twelve, on the same last 10 % of the text that validates and measures."
    ),
    datetime(2026, 11, 25, 11, 48, 11, tzinfo=UTC): (
        "Its figure is a little flattered: the run ended at 1.4707 nats per character, and because that missed the target of 1.47 it went "
        "on for two epochs, on the same last 10 % of the text that validates and measures."
    ),
}


def of(corpus: str, layers: int, trained_at: datetime) -> Card:
    """`trained_at`: when training ended, by which the runs are known that are told of above."""
    if corpus == "synthetic":
        return SYNTHETIC
    limitations = (*LIKE_ITS_SOURCE, TOLD.get(trained_at, FLATTERED))
    network = f"a character-level LSTM of {in_words(layers)} layer{'s' * (layers > 1)}, weights in int8."
    return {"anna": _anna, "shakespeare": _shakespeare}[corpus](network, limitations)


def _anna(network: str, limitations: tuple[str, ...]) -> Card:
    return Card(
        title="Anna Karenina, character by character",
        description=f"Goes on with a text in the manner of Tolstoy's Anna Karenina in Constance Garnett's translation: {network}",
        license=License(name="MIT", notice="Trained on a text in the public domain, from Project Gutenberg."),
        intended_use=INTENDED_USE,
        limitations=(
            *limitations,
            "The six characters % / $ & * @ stand only behind the novel, in the licence text of the file's last tenth: the model never "
            "read them in training, and what follows one is arbitrary.",
        ),
    )


def _shakespeare(network: str, limitations: tuple[str, ...]) -> Card:
    return Card(
        title="Tiny Shakespeare, character by character",
        description=(
            f"Goes on with a text in the manner of Shakespeare's plays (the million characters known as Tiny Shakespeare): {network}"
        ),
        license=License(name="MIT", notice="Trained on a text in the public domain."),
        intended_use=INTENDED_USE,
        limitations=limitations,
    )


SYNTHETIC = Card(
    title="Character model (synthetic, for tests)",
    description="A tiny run on sentences that a program strung together. It proves that the code runs, and writes nobody's prose.",
    license=License(name="MIT"),
    intended_use="Tests.",
    limitations=("It has never read a book.",),
)
