"""ModelRepository: versions side by side, a broken one is refused by name, the others are served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import set_external_data

from app.errors import ModelNotFound, ModelNotReady
from app.runtime.repository import ModelStatus
from tests.model_repository import edit_manifest, picture, rehash, write_colour_model, write_word_model
from tests.runtime.conftest import Load


def test_versions_are_served_side_by_side_and_the_newest_is_the_default(tmp_path: Path, load: Load) -> None:
    for version in ("2", "9", "10"):
        write_colour_model(tmp_path, version=version)
    repository = load(tmp_path)
    assert repository.get("colours").manifest.version == "10"  # by number, not by letter
    assert [repository.get("colours", version).manifest.version for version in ("2", "9", "10")] == ["2", "9", "10"]
    assert repository.statuses() == [ModelStatus("colours", version, "ready") for version in ("10", "9", "2")]
    assert repository.versions("colours") == ["10", "9", "2"]
    assert [model.manifest.version for model in repository.newest()] == ["10"]
    assert [model.manifest.version for model in repository.all_served()] == ["10", "9", "2"]
    with pytest.raises(ModelNotFound, match=r"no model 'colours@3'; available: colours@2, colours@9, colours@10"):
        repository.get("colours", "3")


def test_where_the_newest_version_is_broken_the_one_before_it_answers(tmp_path: Path, load: Load) -> None:
    write_colour_model(tmp_path)
    change_golden(write_colour_model(tmp_path, version="2"))
    repository = load(tmp_path)
    assert repository.get("colours").manifest.version == "1"
    assert [(status.version, status.state) for status in repository.statuses()] == [("2", "refused"), ("1", "ready")]
    with pytest.raises(ModelNotReady, match="'colours@2' is not ready: it was refused"):
        repository.get("colours", "2")


def test_what_is_no_version_is_not_looked_at(tmp_path: Path, load: Load) -> None:
    write_colour_model(tmp_path)
    for name in ("latest", "v2", "02", "1.5", ".git"):
        (tmp_path / "colours" / name).mkdir()
    (tmp_path / "colours" / "7").write_text("a file, no folder")
    (tmp_path / "README.md").write_text("not a model")
    (tmp_path / ".cache" / "1").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    assert load(tmp_path).statuses() == [ModelStatus("colours", "1", "ready")]


def test_models_are_found_by_name_and_task(tmp_path: Path, load: Load) -> None:
    write_colour_model(tmp_path)
    write_word_model(tmp_path)
    repository = load(tmp_path)
    assert [model.name for model in repository.newest()] == ["colours", "words"]
    assert [model.name for model in repository.newest("text-classification")] == ["words"]
    assert repository.get("words", task="text-classification").name == "words"
    with pytest.raises(ModelNotFound, match="available: colours, words"):
        repository.get("absent")
    with pytest.raises(ModelNotFound, match="for image-classification; available: colours"):
        repository.get("words", task="image-classification")


def test_an_empty_repository_says_none(tmp_path: Path, load: Load) -> None:
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ModelNotFound, match="available: none"):
            load(root).get("colours")


def change_golden(folder: Path) -> None:
    np.savez(folder / "golden" / "outputs.npz", logits=np.array([[1.0, 2.0, 3.0]], dtype=np.float32))


def rename_golden(folder: Path) -> None:
    np.savez(folder / "golden" / "outputs.npz", probabilities=np.zeros((1, 3), dtype=np.float32))


def empty_golden(folder: Path) -> None:
    np.savez(folder / "golden" / "outputs.npz")


def golden_of_words(folder: Path) -> None:
    np.savez(folder / "golden" / "outputs.npz", logits=np.array([["a", "b", "c"]]))


def golden_text(folder: Path) -> None:
    (folder / "golden" / "request.txt").write_text("good")
    edit_manifest(folder, lambda fields: fields["golden"].update(request="golden/request.txt"))


def break_golden_picture(folder: Path) -> None:
    (folder / "golden" / "request.png").write_bytes(b"rubbish")


def break_golden_file(folder: Path) -> None:
    (folder / "golden" / "outputs.npz").write_bytes(b"rubbish")


def leave_the_root(folder: Path) -> None:
    outside = folder.parents[2] / "outside" / "colours" / "1"
    outside.parent.mkdir(parents=True)
    folder.rename(outside)
    folder.symlink_to(outside)


def break_graph(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"rubbish")
    rehash(folder)


def weights_from_elsewhere(folder: Path) -> None:
    """A graph whose weights lie in a file outside of its folder."""
    model = onnx.load(folder / "model.onnx")
    gain = next(initializer for initializer in model.graph.initializer if initializer.name == "gain")
    (folder.parent / "weights.bin").write_bytes(gain.raw_data)
    set_external_data(gain, location="../weights.bin")
    gain.ClearField("raw_data")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    rehash(folder)


def inputs_of_another_size(folder: Path) -> None:
    edit_manifest(folder, lambda fields: fields["graphs"]["model"]["inputs"][0].update(shape=[-1, 3, 64, 64]))


def a_label_too_many(folder: Path) -> None:
    edit_manifest(folder, lambda fields: fields["labels"].append({"name": "violet", "title": "Violet"}))


REFUSALS: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: edit_manifest(folder, lambda fields: fields.update(temprature=2)), "unknown field temprature"),
    (lambda folder: (folder / "model.onnx").unlink(), "model.onnx is missing; export the model again"),
    (lambda folder: (folder / "model.onnx").write_bytes(b"changed"), "the sha256 of model.onnx is not the manifest's"),
    (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    (
        lambda folder: edit_manifest(folder, lambda fields: fields.update(task="mind-reading")),
        "this server has no task 'mind-reading'; it has: image-",
    ),
    (
        lambda folder: edit_manifest(folder, lambda fields: fields.update(graphs={"encoder": fields["graphs"]["model"]})),
        "wants a graph called 'model'",
    ),
    (
        lambda folder: edit_manifest(folder, lambda fields: fields.update(labels=[], targets=[], default_target=None)),
        "wants an image processor and labels",
    ),
    (
        lambda folder: edit_manifest(folder, lambda fields: fields["graphs"]["model"]["inputs"][0].update(name="x")),
        "the manifest's inputs of model.onnx are",
    ),
    (
        lambda folder: edit_manifest(folder, lambda fields: fields["graphs"]["model"]["inputs"][0].update(datatype="FP32")),
        "the manifest's inputs",
    ),
    (
        lambda folder: edit_manifest(folder, lambda fields: fields["graphs"]["model"]["inputs"][0].update(shape=[-1, 3])),
        "the manifest's inputs",
    ),
    (inputs_of_another_size, "the manifest's inputs of model.onnx are"),
    (a_label_too_many, "4 labels"),
    (change_golden, "export the model again"),
    (rename_golden, "a tensor 'probabilities' that the graph does not give"),
    (empty_golden, "outputs.npz holds no golden answer"),
    (golden_of_words, "outputs.npz holds no golden answer"),
    (golden_text, "request.txt is no request of this task"),
    (break_golden_picture, "the golden request is refused: the image cannot be decoded"),
    (break_golden_file, "outputs.npz holds no golden answer"),
    (leave_the_root, "the folder is a link that leaves the model repository; copy the model into it"),
    (break_graph, "model.onnx is not a graph that ONNX Runtime can load"),
    (weights_from_elsewhere, "model.onnx"),
]


@pytest.mark.parametrize(("harm", "says"), REFUSALS)
def test_a_broken_model_is_refused_with_its_reason_and_the_others_are_served(
    tmp_path: Path, load: Load, harm: Callable[[Path], object], says: str
) -> None:
    root = tmp_path / "models"
    write_word_model(root)
    harm(write_colour_model(root))
    repository = load(root)
    colours, words = repository.statuses()
    assert (colours.name, colours.version, colours.state, words.state) == ("colours", "1", "refused", "ready")
    assert says in (colours.reason or "")
    assert str(tmp_path) not in (colours.reason or "")
    with pytest.raises(ModelNotReady, match="it was refused; see /health/ready"):
        repository.get("colours")
    assert [model.name for model in repository.newest()] == ["words"]


def test_a_folder_whose_name_cannot_be_served_is_refused_not_overlooked(tmp_path: Path, load: Load) -> None:
    write_colour_model(tmp_path).parent.rename(tmp_path / "My Colours")
    (status,) = load(tmp_path).statuses()
    assert (status.name, status.state) == ("My Colours", "refused")
    assert "rename the folder" in (status.reason or "")


def test_a_name_that_links_out_of_the_root_is_refused(tmp_path: Path, load: Load) -> None:
    write_colour_model(tmp_path / "elsewhere")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "colours").symlink_to(tmp_path / "elsewhere" / "colours")
    (status,) = load(tmp_path / "models").statuses()
    assert status.state == "refused"
    assert "leaves the model repository" in (status.reason or "")


def test_a_root_that_is_itself_a_link_is_fine(tmp_path: Path, load: Load) -> None:
    write_colour_model(tmp_path / "real")
    (tmp_path / "models").symlink_to(tmp_path / "real")
    assert load(tmp_path / "models").get("colours").name == "colours"


def test_a_model_that_is_still_loading_is_not_ready(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from app.main import make_repository
    from app.runtime.metrics import ServingMetrics
    from app.settings import Settings

    write_colour_model(tmp_path)
    with ThreadPoolExecutor(1) as executor:
        repository = make_repository(Settings(models=tmp_path), executor, 1, ServingMetrics())
        assert repository.statuses() == [ModelStatus("colours", "1", "loading")]
        with pytest.raises(ModelNotReady, match="still loading"):
            repository.get("colours")
        repository.load_all()
        assert repository.get("colours").pipeline.preprocess(picture(), repository.get("colours").pipeline.default_options())
