"""Shapes: which axes are open, and how far they reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.contract.manifest import Graph, load_manifest
from app.runtime.shapes import has_fixed_rows, input_bounds
from tests.model_repository import MAX_TOKENS, SIDE_PX, write_colour_model, write_word_model
from tests.models.conftest import FOLDERS


def graph(inputs: list[list[int]], outputs: list[list[int]]) -> Graph:
    def specs(shapes: list[list[int]], name: str) -> list[dict[str, Any]]:
        return [{"name": f"{name}{index}", "datatype": "FP32", "shape": shape} for index, shape in enumerate(shapes)]

    return Graph.model_validate({"file": "model.onnx", "inputs": specs(inputs, "in"), "outputs": specs(outputs, "out")})


@pytest.mark.parametrize(
    ("inputs", "outputs", "fixed"),
    [
        ([[-1, 3, 8, 8]], [[-1, 7]], True),
        ([[-1, 3, 8, 8], [-1, 2]], [[-1, 7], [-1]], True),
        ([[-1, 3, -1, 8]], [[-1, 7]], False),
        ([[-1, 3]], [[-1, -1]], False),
        ([[1, 3]], [[1, 7]], False),
        ([[-1, 3], [3]], [[-1, 7]], False),
    ],
)
def test_the_rows_are_the_whole_shape_where_no_other_axis_is_open(inputs: Any, outputs: Any, fixed: bool) -> None:
    assert has_fixed_rows(graph(inputs, outputs)) is fixed


def test_the_bounds_are_those_of_the_processor(tmp_path: Path) -> None:
    assert input_bounds(load_manifest(write_colour_model(tmp_path)), 4) == {
        "pixel_values": [(1, 4), (3, 3), (SIDE_PX, SIDE_PX), (SIDE_PX, SIDE_PX)]
    }
    words = load_manifest(write_word_model(tmp_path))
    assert input_bounds(words, 16) == {"input_ids": [(1, 16), (1, MAX_TOKENS)], "lengths": [(1, 16)]}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_shipped_model_has_bounds_unless_it_writes(folder: Path) -> None:
    manifest = load_manifest(folder)
    bounds = input_bounds(manifest, 8)
    assert (bounds is None) is (manifest.task == "text-generation")
    if bounds is not None:
        assert all(1 <= low <= high for axes in bounds.values() for low, high in axes)
    assert has_fixed_rows(manifest.graphs["model"]) is (manifest.name == "skin-lesion")
