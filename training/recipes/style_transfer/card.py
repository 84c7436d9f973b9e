"""What the model card says in words. The figures come from `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.contract.manifest import License
from training.kit.card import in_words, listed
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import PHOTOGRAPHS, title_of

INTENDED_USE = "Pictures for pleasure and teaching: perceptual losses, conditional normalisation, and the API for images."
LICENSE = License(
    name="CC-BY-4.0",
    url="https://creativecommons.org/licenses/by/4.0/",
    notice=(
        "The recipe's own paintings are in the public domain. The losses were measured with VGG19's weights (Simonyan and Zisserman 2014, "
        "CC BY 4.0), which are not part of this model. The photographs of training were for research use; none is part of it either."
    ),
)
SYNTHETIC_LICENSE = License(name="MIT", notice="Trained on drawn pictures.")


def title(paintings: Sequence[str]) -> str:
    return f"Photographs in the manner of {in_words(len(paintings))} painting{'s' if len(paintings) > 1 else ''}"


def description(paintings: Sequence[str]) -> str:
    names = listed([title_of(painting).partition(",")[0] for painting in paintings], "or")
    return (
        f"One small feed-forward network paints a photograph in the manner of {names}, or of any mixture of them. "
        "The neutral style `none` gives the photograph back; strength blends between it and a style inside the network."
    )


def limitations(config: Config, evaluation: dict[str, Any]) -> tuple[str, ...]:
    ratio = evaluation["figures"][f"total_loss_over_gatys_{config.yardstick}_{config.gatys_steps}"]["value"]
    data = evaluation["data"]
    kinds = ", mostly of animals, things and landscapes" if data["name"] == PHOTOGRAPHS[0] else ""
    return (
        f"Its loss is {ratio:.2f} times that of Gatys' method after {config.gatys_steps} steps, where 1 was wanted. "
        "Small things lose their shape, most of all below 200 px, and smooth areas show the grain of the canvas.",
        "Strokes have a fixed width in pixels: on a larger picture they are finer, down to a grain. max_side_px chooses.",
        "Styles are colours and textures of up to some 50 px, as VGG19's first three blocks see them; it copies no composition.",
        "Normalisation looks at the whole picture: cut into tiles, it would change from tile to tile, so it is painted in one piece.",
        f"Trained on {data['splits']['train']:,} photographs{kinds}; faces may lose their likeness.",
    )
