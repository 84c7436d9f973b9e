"""What people should know of each model, beside the figures: it goes into the manifest, which is the model card."""

from __future__ import annotations

from app.contract.manifest import License
from training.kit.card import Card

LIKE_ITS_SOURCE = (
    "It knows letters, not facts: what it writes has the sound of its source and no meaning to rely on.",
    "It holds a sentence together, hardly a paragraph: after a few hundred characters nothing is left of the prompt.",
    "A prompt may hold only the characters of its alphabet, which is in the manifest; any other is refused.",
    "Its words, names and views are those of its source and its time; it can also repeat lines of it word for word (see longest_copy).",
    "Its figure is a little flattered: how long it trained was decided by the last 10 % of the text, on which it is also measured.",
)

CARDS = {
    "anna": Card(
        title="Anna Karenina, character by character",
        description=(
            "Goes on with a text in the manner of Tolstoy's Anna Karenina in Constance Garnett's translation: a character-level LSTM, "
            "weights in int8."
        ),
        license=License(name="MIT", notice="Trained on a text in the public domain, from Project Gutenberg."),
        intended_use="To play with, to teach how a language model works, and to try the API with something small that really writes.",
        limitations=(
            *LIKE_ITS_SOURCE,
            "The six characters % / $ & * @ stand only behind the novel, in the licence text of the file's last tenth: the model never "
            "read them in training, and what follows one is arbitrary.",
        ),
    ),
    "shakespeare": Card(
        title="Tiny Shakespeare, character by character",
        description=(
            "Goes on with a text in the manner of Shakespeare's plays (the million characters known as Tiny Shakespeare): a "
            "character-level LSTM, weights in int8."
        ),
        license=License(name="MIT", notice="Trained on a text in the public domain."),
        intended_use="To play with, to teach how a language model works, and to try the API with something small that really writes.",
        limitations=LIKE_ITS_SOURCE,
    ),
    "synthetic": Card(
        title="Character model (synthetic, for tests)",
        description="A tiny run on sentences that a program strung together. It proves that the code runs, and writes nobody's prose.",
        license=License(name="MIT"),
        intended_use="Tests.",
        limitations=("It has never read a book.",),
    ),
}
