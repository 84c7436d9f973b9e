"""TensorRT: the shapes that engines are built for, and the folders that they are kept in."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from app.contract.manifest import load_manifest
from app.errors import ModelRejected
from app.runtime.device import Device
from app.runtime.tensorrt import engine_options
from tests.model_repository import write_colour_model, write_word_model
from tests.models.conftest import FOLDERS


def options(folder: Path, device: Device) -> dict[str, str]:
    found = engine_options(load_manifest(folder), folder, device)
    assert found is not None
    return found


def cache_of(folder: Path, device: Device) -> Path:
    found = options(folder, device)
    assert found["trt_engine_cache_enable"] == found["trt_timing_cache_enable"] == "1"
    assert found["trt_engine_cache_path"] == found["trt_timing_cache_path"]
    return Path(found["trt_engine_cache_path"])


def test_an_engine_is_for_every_shape_that_the_server_lets_in(tmp_path: Path) -> None:
    found = options(write_word_model(tmp_path, batching={"max_batch_size": 16}), Device("tensorrt"))
    assert found == {
        "trt_profile_min_shapes": "input_ids:1x1,lengths:1",
        "trt_profile_opt_shapes": "input_ids:16x40,lengths:16",
        "trt_profile_max_shapes": "input_ids:16x80,lengths:16",
    }
    assert "lengths:64" in options(tmp_path / "words" / "1", Device("tensorrt", batch_size=64))["trt_profile_max_shapes"]


def test_a_start_without_a_cache_says_what_that_costs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "axon.models")
    options(write_colour_model(tmp_path), Device("tensorrt"))
    assert "AXON_TENSORRT_CACHE is not set: engines are built at every start" in caplog.text


def test_an_engine_is_found_again_and_never_taken_for_another(tmp_path: Path) -> None:
    (cache := tmp_path / "engines").mkdir()
    device = Device("tensorrt", engine_cache=cache)
    folder = write_colour_model(tmp_path)
    first = cache_of(folder, device)
    assert first.is_dir()
    assert cache_of(folder, device) == first
    others = [
        cache_of(folder, Device("tensorrt", engine_cache=cache, precision="fp16")),
        cache_of(folder, Device("tensorrt", engine_cache=cache, batch_size=32)),
        cache_of(write_colour_model(tmp_path, version="2"), device),
    ]
    shutil.rmtree(folder)
    others.append(cache_of(write_colour_model(tmp_path, leaky=True), device))  # other weights behind the same name and version
    assert len({first, *others}) == 5


def test_a_cache_that_cannot_be_written_refuses_the_model(tmp_path: Path) -> None:
    (cache := tmp_path / "engines").mkdir()
    (cache / "colours").write_text("in the way")
    with pytest.raises(ModelRejected, match="AXON_TENSORRT_CACHE cannot be written"):
        options(write_colour_model(tmp_path), Device("tensorrt", engine_cache=cache))


def test_the_shipped_models_that_write_are_left_to_cuda() -> None:
    built = {folder.parent.name: engine_options(load_manifest(folder), folder, Device("tensorrt")) is not None for folder in FOLDERS}
    assert not built["anna"]
    assert not built["shakespeare"]
    assert all(built[name] for name in ("skin-lesion", "sentiment", "style-transfer", "horse2zebra"))
