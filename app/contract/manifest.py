"""manifest.json: everything that is known of a model besides its weights. One class writes it and reads it.

What a recipe exports says where it comes from (`provenance`), and then nothing may be missing. A manifest that somebody wrote
by hand for a model from elsewhere leaves out what nobody knows of it.

`schema_version` rises when an old file can no longer be read. Unknown fields are errors: a typing slip must
not become a setting that is silently ignored.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from app.contract.classification import Target
from app.contract.conditions import Condition
from app.contract.fields import Line, RelativePath, Sha256, printable
from app.contract.files import check_file
from app.contract.images import ImageProcessor, PhotographProcessor
from app.contract.text import CharacterProcessor, TextProcessor
from app.errors import ModelRejected

SCHEMA_VERSION = 1
MAX_SAID_CHARS = 300
MANIFEST_FILE = "manifest.json"
EXPORTED = ("description", "golden", "metrics", "license", "intended_use", "limitations")  # what a recipe's model has
NAME_PATTERN = "^[a-z0-9][a-z0-9._-]{0,63}$"

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]  # fmt: skip


_DTYPES: dict[Datatype, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TensorSpec(_Frozen):
    """A tensor as the Open Inference Protocol writes it; -1 stands for an axis of any length."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """numpy's name for the datatype; an element of BYTES is an object, a `bytes`."""
        dtype: np.dtype[Any] = np.dtype(_DTYPES[self.datatype])
        return dtype


class Graph(_Frozen):
    """One ONNX file, and the tolerance at which it was proved equal to the PyTorch module."""

    file: RelativePath
    sha256: Sha256 | None = None
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    atol: float | None = Field(default=None, gt=0)


class Golden(_Frozen):
    """One request, as a client would send it, and the tensors that the graph answered at export."""

    request: RelativePath  # "golden/request.png"; a .txt file is read as text, anything else as bytes
    outputs: RelativePath  # "golden/outputs.npz": one array a graph output, first axis the request's rows
    atol: float = Field(gt=0)


class Label(_Frozen):
    name: Line = Field(min_length=1)
    title: Line


class Batching(_Frozen):
    """How the server may group requests; rows, not requests, are counted."""

    max_batch_size: int = Field(default=8, gt=0)
    max_queue_delay_us: int = Field(default=0, ge=0)
    max_batch_pixels: int | None = Field(default=None, gt=0)  # of the pictures in a batch together; a larger one runs alone


class Metric(_Frozen):
    """A figure that `evaluate` measured: on what, on how many, and how sure."""

    name: str
    value: float
    ci95: tuple[float, float] | None = None
    n: int = Field(gt=0)
    data: str
    split: str
    note: str | None = None  # "ONNX Runtime, one view"


class DataSource(_Frozen):
    name: str
    source: str
    sha256: Sha256
    licence: str


class Provenance(_Frozen):
    """How the weights came to be."""

    recipe: str
    preset: str
    commit: str
    config: dict[str, JsonValue]
    data: tuple[DataSource, ...]
    trained_at: AwareDatetime
    versions: dict[str, str]
    hardware: str
    duration_s: float = Field(ge=0)


class License(_Frozen):
    """The licence of the weights, which may be narrower than that of the code."""

    name: str  # an SPDX identifier where there is one
    url: str | None = None
    notice: str | None = None


class ModelManifest(_Frozen):
    """The whole manifest. `GET /v1/models/{name}` shows it to people as the model card."""

    schema_version: Literal[1]
    name: str = Field(pattern=NAME_PATTERN)
    version: str = Field(pattern="^[1-9][0-9]{0,8}$")
    task: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    title: Line
    description: str = ""
    graphs: dict[str, Graph] = Field(min_length=1)  # by role; a model with one graph calls it "model"
    processor: Annotated[ImageProcessor | PhotographProcessor | TextProcessor | CharacterProcessor, Field(discriminator="type")]
    labels: tuple[Label, ...] = ()
    condition: Condition | None = None
    temperature: float = Field(default=1.0, ge=1e-3, le=1e3)  # of the logits of a classifier
    targets: tuple[Target, ...] = ()
    default_target: str | None = None
    defaults: dict[str, JsonValue] = {}
    batching: Batching = Batching()
    golden: Golden | None = None
    metrics: tuple[Metric, ...] = ()
    measurements: dict[str, JsonValue] = {}  # what `evaluate` reports beyond single figures: subgroups, curves
    provenance: Provenance | None = None
    license: License | None = None
    intended_use: str = ""
    limitations: tuple[str, ...] = ()
    notice: str | None = None  # one sentence that goes with every answer

    @model_validator(mode="after")
    def _what_was_exported_is_complete(self) -> Self:
        if self.provenance is None:
            return self
        missing = [name for name in EXPORTED if not getattr(self, name)]
        missing += [
            f"graphs.{role}.{name}" for role, graph in self.graphs.items() for name in ("sha256", "atol") if not getattr(graph, name)
        ]
        if isinstance(self.processor, TextProcessor) and not self.processor.sha256:
            missing.append("processor.sha256")
        if missing:
            raise ValueError(f"the field {missing[0]} is missing; add it: what has provenance was exported, and is complete")
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [target.name for target in self.targets]
        named: dict[str, Sequence[str]] = {"labels": [label.name for label in self.labels], "targets": names}
        for target in self.targets:
            points = [point.name for point in target.operating_points]
            named |= {f"the labels of target {target.name!r}": target.labels, f"the operating points of target {target.name!r}": points}
        for what, given in named.items():
            if twice := [name for name in given if given.count(name) > 1]:
                raise ValueError(f"{what} must have different names; {twice[0]!r} comes twice")
        labels = {label.name for label in self.labels}
        for target in self.targets:
            unknown = set(target.labels) - labels
            if unknown:
                raise ValueError(f"target {target.name!r} names unknown labels: {', '.join(sorted(unknown))}")
        if self.targets and self.default_target not in names:
            raise ValueError(f"default_target must be one of: {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _logits_are_as_many_as_their_names(self) -> Self:
        outputs = [spec for graph in self.graphs.values() for spec in graph.outputs if spec.name == "logits"]
        for spec in outputs:
            if self.labels and spec.shape[-1:] != (len(self.labels),):
                raise ValueError(f"{len(self.labels)} labels, but logits of shape {list(spec.shape)}")
            if isinstance(self.processor, CharacterProcessor) and spec.shape[-1:] != (len(self.processor.characters),):
                raise ValueError(f"{len(self.processor.characters)} characters, but logits of shape {list(spec.shape)}")
        return self

    @model_validator(mode="after")
    def _condition_is_as_wide_as_its_choices(self) -> Self:
        shapes = [list(spec.shape) for graph in self.graphs.values() for spec in graph.inputs if spec.name == "condition"]
        if self.condition is None and shapes:
            raise ValueError("a graph takes 'condition', so the manifest needs a condition that names its columns")
        if self.condition is not None and shapes != [[-1, len(self.condition.choices)]]:
            raise ValueError(f"{len(self.condition.choices)} choices, but the graph's inputs 'condition' are of the shapes {shapes}")
        return self

    @property
    def max_batch_pixels(self) -> int | None:
        """By default a batch of photographs is as large as the largest one alone: what must be possible is enough."""
        if self.batching.max_batch_pixels is None and isinstance(self.processor, PhotographProcessor):
            return self.processor.max_side_px**2
        return self.batching.max_batch_pixels

    def save(self, directory: Path) -> Path:
        path = directory / MANIFEST_FILE
        path.write_text(self.model_dump_json(indent=1, exclude_none=True) + "\n", encoding="utf-8")
        return path


def load_manifest(directory: Path) -> ModelManifest:
    """Read `directory`/manifest.json and check every file that it names. Raises ModelRejected, saying what to do."""
    check_file(directory, MANIFEST_FILE, None)
    try:
        manifest = ModelManifest.model_validate_json((directory / MANIFEST_FILE).read_bytes().removeprefix(BOM_UTF8))
    except ValidationError as error:
        raise ModelRejected(_first_problem(error)) from None
    if (directory.parent.name, directory.name) != (manifest.name, manifest.version):
        raise ModelRejected(
            f"the manifest is of {manifest.name}/{manifest.version} but lies in {directory.parent.name}/{directory.name}; "
            "rename the folder to match"
        )
    _check_files(manifest, directory)
    return manifest


def _check_files(manifest: ModelManifest, directory: Path) -> None:
    """Every file that is named, and the hashes of those that have one. Raises ModelRejected."""
    files = {graph.file: graph.sha256 for graph in manifest.graphs.values()}
    if isinstance(manifest.processor, TextProcessor):
        files[manifest.processor.tokenizer] = manifest.processor.sha256
    if manifest.golden is not None:
        files |= dict.fromkeys((manifest.golden.request, manifest.golden.outputs))
    for name, expected in files.items():
        check_file(directory, name, expected)


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()
    first = problems[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        text = f"unknown field {place}; remove it or correct its name"
    elif first["type"] == "missing":
        text = f"the field {place} is missing; add it"
    else:
        text = f"{place}: {first['msg'].removeprefix('Value error, ')}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{MANIFEST_FILE} does not fit schema {SCHEMA_VERSION}: {printable(text)[:MAX_SAID_CHARS]}{more}"
