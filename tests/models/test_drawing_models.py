"""Each shipped model that draws: every choice of it, at every size, and in mixed company."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from app.contract.conditions import Condition
from app.contract.manifest import load_manifest
from app.runtime.repository import ModelRepository
from app.tasks.image_to_image.pipeline import ImageToImagePipeline
from tests.models.conftest import FOLDERS
from tests.models.test_shipped_models import photographs
from tests.runtime.invariance import ATOL, largest_influence

MODELS = [manifest for manifest in map(load_manifest, FOLDERS) if manifest.task == "image-to-image"]
CHOICES = [(manifest.name, choice.name) for manifest in MODELS if manifest.condition for choice in manifest.condition.choices]
SIZES = [(321, 257), (257, 321), (16, 16), (17, 333), (250, 31), (256, 256)]
VISIBLE = 4 / 255  # mean difference of two drawings that are not of one choice


def condition_of(name: str) -> Condition:
    condition = next(manifest.condition for manifest in MODELS if manifest.name == name)
    assert condition is not None
    return condition


def draw(repository: ModelRepository, name: str, picture: bytes, options: dict[str, Any]) -> NDArray[np.float32]:
    """(3, H, W)"""
    model = repository.get(name)
    pipeline = cast(ImageToImagePipeline, model.pipeline)
    rows = pipeline.preprocess(picture, pipeline.order(options))
    drawn: NDArray[np.float32] = model.session.run(pipeline.collate(rows))["reconstruction"][0]
    return drawn


@pytest.mark.parametrize(("name", "choice"), CHOICES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_the_answer_has_the_pictures_size_whatever_that_is(
    repository: ModelRepository, name: str, choice: str, size: tuple[int, int]
) -> None:
    drawn = draw(repository, name, photographs(size)[0], {condition_of(name).option: choice})
    assert drawn.shape == (3, size[1], size[0])
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.std() > 0.02  # it is no blank


@pytest.mark.parametrize("name", [manifest.name for manifest in MODELS if manifest.condition])
def test_every_choice_draws_another_picture(repository: ModelRepository, name: str) -> None:
    condition, (picture,) = condition_of(name), photographs((321, 257))
    drawings = [draw(repository, name, picture, {condition.option: choice}) for choice in condition.names]
    for index, drawing in enumerate(drawings):
        assert all(np.abs(drawing - other).mean() > VISIBLE for other in drawings[:index]), condition.names[index]


@pytest.mark.parametrize("name", [manifest.name for manifest in MODELS if manifest.condition and manifest.condition.mixable])
def test_styles_share_a_batch_and_do_not_mix(repository: ModelRepository, name: str) -> None:
    model, condition = repository.get(name), condition_of(name)
    pipeline = cast(ImageToImagePipeline, model.pipeline)
    first, second, *_ = condition.names
    options = [{condition.option: first}, {condition.plural: f"{first}:1,{second}:2"}, {condition.option: second, "strength": 0.5}]
    pictures = photographs(*[(321, 257)] * len(options))
    assert largest_influence(model, pictures, [pipeline.order(each) for each in options]) <= ATOL  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [manifest.name for manifest in MODELS if manifest.condition and not manifest.condition.mixable])
def test_each_direction_draws_alone_as_in_company(repository: ModelRepository, name: str) -> None:
    model, condition = repository.get(name), condition_of(name)
    pipeline = cast(ImageToImagePipeline, model.pipeline)
    for choice in condition.names:
        order = pipeline.order({condition.option: choice})
        assert largest_influence(model, photographs((321, 257), (321, 257)), [order] * 2) <= ATOL  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [manifest.name for manifest in MODELS if manifest.condition and manifest.condition.neutral])
def test_without_strength_the_photograph_comes_back(repository: ModelRepository, name: str) -> None:
    """As far as the network learned it: not half as far from it as the style is."""
    (picture,) = photographs((321, 257))
    given = repository.get(name).pipeline.preprocess(picture, repository.get(name).pipeline.default_options())[0].pixels / 255
    returned = draw(repository, name, picture, {"strength": 0})
    styled = draw(repository, name, picture, {})
    assert np.abs(returned - given).mean() < 0.5 * np.abs(styled - given).mean()
