"""What the model card says in words. The figures come from `evaluate`."""

from __future__ import annotations

from app.contract.manifest import License

TITLE = "Photographs in the manner of six paintings"
DESCRIPTION = (
    "One small feed-forward network paints a photograph in the manner of Van Gogh, Hokusai, Munch, Turner, Picabia or Matisse, or of any "
    "mixture of them. The neutral style `none` gives the photograph back; strength blends between it and a style inside the network."
)
INTENDED_USE = "Pictures for pleasure and teaching: perceptual losses, conditional normalisation, and the API for images."
LIMITATIONS = (
    "It misses its target, the loss of Gatys' method after 100 steps, by a factor of 1.55, after nine minutes of a GPU. "
    "Small things lose their shape, most of all below 200 px, and smooth areas show the grain of the canvas.",
    "Strokes have a fixed width in pixels: on a larger picture they are finer, down to a grain. max_side_px chooses.",
    "Styles are colours and textures of up to some 50 px, as VGG19's first three blocks see them; it copies no composition.",
    "Normalisation looks at the whole picture: cut into tiles, a picture would change from tile to tile, so it is painted in one piece.",
    "Trained on 1,100 photographs, mostly of animals, things and landscapes; faces may lose their likeness.",
)
LICENSE = License(
    name="CC-BY-4.0",
    url="https://creativecommons.org/licenses/by/4.0/",
    notice=(
        "The paintings are in the public domain. The losses were measured with VGG19's weights (Simonyan and Zisserman 2014, CC BY 4.0), "
        "which are not part of this model. The photographs of training were for research use; none is part of this model either."
    ),
)
SYNTHETIC_LICENSE = License(name="MIT", notice="Trained on drawn pictures.")
