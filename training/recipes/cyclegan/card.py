"""What people should know of the models, beside the figures: it goes into the manifest, which is the model card."""

from __future__ import annotations

from typing import Any

from app.contract.manifest import License
from training.kit.card import Card

SYNTHETIC = Card(
    title="Plain blobs to striped ones (synthetic, for tests)",
    description="A tiny run on blobs that a program drew. It proves that the code runs.",
    license=License(name="MIT"),
    intended_use="Tests.",
    limitations=("It has never seen a photograph.",),
)


def horse2zebra(crop_size: int, evaluation: dict[str, Any], duration_s: float) -> Card:
    """`crop_size`: that of training, whatever was evaluated. `duration_s`: of training, with that of the runs that it started from."""
    ratios = [metric["value"] for metric in evaluation["metrics"] if metric["name"] == "frechet_ratio_to_untranslated"]
    return Card(
        title="Horses to zebras, and back",
        description=(
            "Turns the horses of a photograph into zebras (direction=horse-to-zebra) or the zebras into horses (zebra-to-horse). "
            "CycleGAN: two generators that were trained together, on photographs without pairs."
        ),
        license=License(
            name="LicenseRef-research-only",
            url="https://github.com/junyanz/CycleGAN",
            notice="Trained on horse2zebra (Zhu et al. 2017): photographs from ImageNet, for research and teaching.",
        ),
        intended_use="To play with, to teach how networks learn without pairs, and to try the API with pictures in and out.",
        limitations=(
            f"Translated horses are still {ratios[0]:.2f} times as far (Frechet) from real zebras as they were before.",
            f"It learnt for {duration_in_words(duration_s)}, and not all that it draws is a zebra: look at its contact sheet.",
            f"Trained at {crop_size} px. Larger pictures are taken, and it draws at the scale that it learnt: stripes stay as many "
            "pixels wide.",
            "It changes texture and colour, not shape, and it also changes what is no animal: grass, sky, people.",
            "Any picture gets an answer, with a horse or without: the model cannot say that there is none.",
            "A picture that went there and back may carry hidden traces of the first one (Chu et al. 2017, arXiv:1712.02950).",
        ),
    )


def duration_in_words(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"


def own(name_a: str, name_b: str) -> Card:
    """Of a run on the user's two folders."""
    return Card(
        title=f"From {name_a} to {name_b}, and back",
        description=f"CycleGAN between two folders of pictures: {name_a} and {name_b}.",
        license=License(name="LicenseRef-unknown", notice="The weights follow the licences of the pictures that they were trained on."),
        intended_use="Its owner's to say.",
        limitations=("Any picture gets an answer, of either domain or of none.", "Look at the contact sheet of the run before you use it."),
    )
