"""manifest.json: one class writes it and reads it, and a model that does not fit is refused with what to do."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.contract.manifest import ModelManifest, load_manifest
from app.contract.text import CharacterProcessor
from app.errors import ModelRejected
from tests.model_repository import edit_manifest, forget_origin, write_colour_model, write_word_model

Edit = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize("write", [write_colour_model, write_word_model])
def test_what_was_saved_is_what_is_loaded(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    folder = write(tmp_path)
    manifest = load_manifest(folder)
    again = tmp_path / "again"
    again.mkdir()
    manifest.save(again)
    assert (again / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()
    assert ModelManifest.model_validate_json((again / "manifest.json").read_bytes()) == manifest


def test_the_file_is_for_people_too(tmp_path: Path) -> None:
    text = (write_colour_model(tmp_path) / "manifest.json").read_text()
    assert text.startswith('{\n "schema_version": 1,\n "name": "colours"')
    assert text.endswith("}\n")
    assert "null" not in text


def test_a_manifest_is_frozen(tmp_path: Path) -> None:
    manifest = load_manifest(write_colour_model(tmp_path))
    with pytest.raises(ValidationError, match="frozen"):
        manifest.temperature = 2.0
    with pytest.raises(ValidationError, match="frozen"):
        manifest.graphs["model"].sha256 = "0" * 64


def graph(fields: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = fields["graphs"]["model"]
    return found


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda fields: fields.update(temprature=2), "unknown field temprature; remove it or correct its name"),
        (lambda fields: fields["batching"].update(max_batch=2), "unknown field batching.max_batch; remove it"),
        (lambda fields: fields.pop("license"), "the field license is missing; add it"),
        (lambda fields: fields["provenance"].pop("commit"), "the field provenance.commit is missing; add it"),
        (lambda fields: fields.update(schema_version=2), "does not fit schema 1: schema_version"),
        (lambda fields: fields.update(name="Colours"), "name: "),
        (lambda fields: fields.update(version="0"), "version: "),
        (lambda fields: fields.update(version="v1"), "version: "),
        (lambda fields: fields.update(temperature=0), "temperature: "),
        (lambda fields: fields.update(temperature=1e-310), "temperature: "),
        (lambda fields: fields.update(title="a\nb"), "title: must be one line of characters that print"),
        (lambda fields: fields["labels"][0].update(title="\x1b[31mred"), "labels.0.title: must be one line of characters that print"),
        (lambda fields: fields["labels"][0].update(name=""), "labels.0.name: "),
        (lambda fields: fields.update({"x\n2026 INFO forged/1 is ready": 1}), r"unknown field x\n2026 INFO forged/1 is ready"),
        (lambda fields: fields.update({"x" * 1000: 1}), "unknown field xxx"),
        (lambda fields: graph(fields).update(file="model\0.onnx"), "must be a path inside the model's folder"),
        (lambda fields: graph(fields).update(file="a" * 300), "must be a path inside the model's folder"),
        (lambda fields: fields["labels"].append(fields["labels"][0]), "labels must have different names; 'red' comes twice"),
        (lambda fields: fields["targets"].append(fields["targets"][0]), "targets must have different names; 'reddish' comes twice"),
        (lambda fields: fields["targets"][0].update(labels=["red", "red"]), "the labels of target 'reddish' must have different names"),
        (
            lambda fields: fields["targets"][0]["operating_points"].append(fields["targets"][0]["operating_points"][0]),
            "the operating points of target 'reddish' must have different names",
        ),
        (lambda fields: fields.update(graphs={}), "graphs: "),
        (lambda fields: graph(fields).update(sha256="abc"), "graphs.model.sha256: "),
        (lambda fields: graph(fields).update(file="../model.onnx"), "must be a path inside the model's folder"),
        (lambda fields: graph(fields).update(file="/etc/passwd"), "must be a path inside the model's folder"),
        (lambda fields: graph(fields).update(file="a\\..\\b"), "must be a path inside the model's folder"),
        (lambda fields: graph(fields).update(file=""), "must be a path inside the model's folder"),
        (lambda fields: graph(fields)["inputs"][0].update(datatype="FLOAT"), "graphs.model.inputs.0.datatype: "),
        (lambda fields: fields["processor"].update(type="audio"), "processor: "),
        (lambda fields: fields["processor"].pop("type"), "processor: "),
        (lambda fields: fields["processor"].update(height=0), "processor.image.height: "),
        (lambda fields: fields["provenance"].update(trained_at="2026-01-02T03:04:05"), "provenance.trained_at: "),
        (lambda fields: fields["metrics"][0].update(n=0), "metrics.0.n: "),
        (lambda fields: fields.update(default_target="absent"), "default_target must be one of: reddish, warm"),
        (lambda fields: fields.update(default_target=None), "default_target must be one of: reddish, warm"),
        (lambda fields: fields["targets"][0].update(labels=["violet"]), "target 'reddish' names unknown labels: violet"),
        (lambda fields: fields["labels"].pop(1), "target 'warm' names unknown labels: green"),
        (lambda fields: fields["labels"].append({"name": "violet", "title": "Violet"}), "4 labels, but logits of shape [-1, 3]"),
        (lambda fields: fields.update(one=1, two=2, three=3), "(and 2 more)"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_with_what_to_do(tmp_path: Path, edit: Edit, says: str) -> None:
    folder = write_colour_model(tmp_path)
    edit_manifest(folder, edit)
    with pytest.raises(ModelRejected) as caught:
        load_manifest(folder)
    assert says in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_byte_order_mark_is_no_part_of_a_manifest(tmp_path: Path) -> None:
    folder = write_colour_model(tmp_path)
    manifest = load_manifest(folder)
    file = folder / "manifest.json"
    file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
    assert load_manifest(folder) == manifest


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_colour_model(tmp_path)
    forget_origin(folder)
    is_opened = Path.open

    def open_or_refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, "Permission denied")
        return is_opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_or_refuse)  # as a user who is not root
    with pytest.raises(ModelRejected, match=f"{name} cannot be read .Permission denied.; let the server's user read it"):
        load_manifest(folder)


def test_a_link_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    folder = write_colour_model(tmp_path)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("model.onnx")
    with pytest.raises(ModelRejected, match=r"model\.onnx (cannot be found|is missing)"):
        load_manifest(folder)


def test_a_manifest_written_by_hand_leaves_out_what_nobody_knows(tmp_path: Path) -> None:
    folder = write_colour_model(tmp_path)
    forget_origin(folder)
    (folder / "golden" / "request.png").unlink()
    manifest = load_manifest(folder)
    assert (manifest.provenance, manifest.golden, manifest.license, manifest.metrics) == (None, None, None, ())
    edit_manifest(folder, lambda fields: graph(fields).update(sha256="0" * 64))
    with pytest.raises(ModelRejected, match=r"the sha256 of model\.onnx is not the manifest's"):  # who gives one means it
        load_manifest(folder)


@pytest.mark.parametrize("name", ["description", "golden", "metrics", "license", "intended_use", "limitations"])
def test_what_was_exported_is_complete(tmp_path: Path, name: str) -> None:
    folder = write_colour_model(tmp_path)
    edit_manifest(folder, lambda fields: fields.pop(name))
    with pytest.raises(ModelRejected, match=f"the field {name} is missing; add it: what has provenance was exported"):
        load_manifest(folder)


@pytest.mark.parametrize("name", ["sha256", "atol"])
def test_the_graph_of_what_was_exported_is_hashed_and_proved(tmp_path: Path, name: str) -> None:
    folder = write_colour_model(tmp_path)
    edit_manifest(folder, lambda fields: graph(fields).pop(name))
    with pytest.raises(ModelRejected, match=f"the field graphs.model.{name} is missing"):
        load_manifest(folder)


def test_a_character_model_names_as_many_characters_as_it_has_logits(tmp_path: Path) -> None:
    folder = write_colour_model(tmp_path, labels=[], targets=[], default_target=None)  # logits of shape (B, 3)
    edit_manifest(folder, lambda fields: fields.update(processor={"type": "characters", "characters": "\nab"}))
    assert load_manifest(folder).processor == CharacterProcessor(characters="\nab")
    edit_manifest(folder, lambda fields: fields["processor"].update(characters="\nabc"))
    with pytest.raises(ModelRejected, match="4 characters, but logits of shape"):
        load_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"null", b'{"schema_version": NaN}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_colour_model(tmp_path)
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ModelRejected, match="does not fit schema 1"):
        load_manifest(folder)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match=r"manifest.json is missing; export the model again"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "golden/request.txt", "golden/outputs.npz"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_word_model(tmp_path)
    (folder / name).unlink()
    with pytest.raises(ModelRejected, match=f"{name} is missing; export the model again"):
        load_manifest(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_changed_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_word_model(tmp_path)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ModelRejected, match=f"the sha256 of {name} is not the manifest's; restore the file"):
        load_manifest(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "golden/request.txt"])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_word_model(tmp_path / "models")
    outside = tmp_path / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    with pytest.raises(ModelRejected, match=f"{name} points outside the model's folder"):
        load_manifest(folder)


def test_a_tokenizer_path_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write_word_model(tmp_path)
    edit_manifest(folder, lambda fields: fields["processor"].update(tokenizer="../../../etc/passwd"))
    with pytest.raises(ModelRejected, match=r"(?:out|in)side"):
        load_manifest(folder)


@pytest.mark.parametrize(("name", "version"), [("renamed", "1"), ("colours", "2")])
def test_a_renamed_folder_is_refused(tmp_path: Path, name: str, version: str) -> None:
    folder = write_colour_model(tmp_path)
    moved = tmp_path / name / version
    moved.parent.mkdir(exist_ok=True)
    folder.rename(moved)
    with pytest.raises(ModelRejected, match=f"is of colours/1 but lies in {name}/{version}; rename the folder"):
        load_manifest(moved)


def test_nan_is_not_written_into_a_manifest(tmp_path: Path) -> None:
    fields = json.loads((write_colour_model(tmp_path) / "manifest.json").read_text())
    fields["metrics"][0]["value"] = float("nan")
    with pytest.raises(ValidationError, match="finite"):
        ModelManifest.model_validate(fields)


def with_choices(fields: dict[str, Any]) -> None:
    choices = [{"name": name, "title": name.title()} for name in ("oil", "ink", "none")]
    fields["condition"] = {"option": "style", "choices": choices, "default": "oil", "mixable": True, "neutral": "none"}
    graph(fields)["inputs"].append({"name": "condition", "datatype": "FP32", "shape": [-1, 3]})


def test_choices_are_the_columns_of_the_graphs_condition(tmp_path: Path) -> None:
    folder = write_colour_model(tmp_path)
    edit_manifest(folder, with_choices)
    condition = load_manifest(folder).condition
    assert condition is not None
    assert condition.names == ("oil", "ink", "none")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda fields: fields["condition"]["choices"].pop(1), "2 choices, but the graph's inputs 'condition' are of the shapes [[-1, 3]]"),
        (lambda fields: graph(fields)["inputs"].pop(), "3 choices, but the graph's inputs 'condition' are of the shapes []"),
        (lambda fields: fields.pop("condition"), "the manifest needs a condition that names its columns"),
        (lambda fields: fields["condition"].update(default="oils"), "condition: default must be one of the choices: oil, ink, none"),
        (lambda fields: fields["batching"].update(max_batch_pixels=0), "batching.max_batch_pixels: "),
    ],
)
def test_choices_that_do_not_fit_the_graph_are_refused(tmp_path: Path, edit: Edit, says: str) -> None:
    folder = write_colour_model(tmp_path)
    edit_manifest(folder, with_choices)
    edit_manifest(folder, edit)
    with pytest.raises(ModelRejected) as caught:
        load_manifest(folder)
    assert says in str(caught.value)
