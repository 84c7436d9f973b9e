"""The model repository: a folder of `<name>/<version>/`, what of it is served, and why the rest is not."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.contract.manifest import NAME_PATTERN, Graph, ModelManifest, load_manifest
from app.errors import ModelNotFound, ModelNotReady, ModelRejected
from app.runtime.metrics import ServingMetrics
from app.runtime.options import RuntimeOptions
from app.runtime.pipeline import Pipeline, Servable
from app.runtime.session import OrtSession

logger = logging.getLogger("axon.models")

State = Literal["loading", "ready", "refused"]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Where one model stands; `reason` says what to do about a refused one."""

    name: str
    version: str
    state: State
    reason: str | None = None


class ModelRepository:
    """Scans a folder, loads the newest version of each model, and hands out those that are warm."""

    def __init__(
        self,
        root: Path,
        pipelines: Mapping[str, type[Pipeline]],
        executor: Executor,
        metrics: ServingMetrics,
        options: RuntimeOptions,
    ) -> None:
        self.root = root
        self._pipelines = pipelines
        self._executor = executor
        self._metrics = metrics
        self._options = options
        self._models: dict[str, Servable] = {}
        self._statuses: dict[str, ModelStatus] = {}
        for name, version in self._scan():
            self._statuses[name] = ModelStatus(name, version, "loading")

    def load_all(self) -> None:
        """Load and warm every model. One that cannot be served is refused, with its reason; the others go on."""
        if not self._statuses:
            logger.warning("there is no model in %s", self.root)
        for status in list(self._statuses.values()):
            try:
                self._models[status.name] = self._load(status.name, status.version)
                self._statuses[status.name] = ModelStatus(status.name, status.version, "ready")
                logger.info("%s/%s is ready", status.name, status.version)
            except ModelRejected as error:
                self._refuse(status, str(error))
            except Exception as error:
                logger.exception("%s/%s failed to load", status.name, status.version)
                self._refuse(status, f"loading failed ({type(error).__name__}); the server's log has the details")

    def get(self, name: str, task: str | None = None) -> Servable:
        """A warm model. Raises ModelNotFound, naming those that exist, or ModelNotReady."""
        model = self._models.get(name)
        if model is not None and task in (None, model.manifest.task):
            return model
        status = self._statuses.get(name)
        if model is None and status is not None:
            reason = "it is still loading" if status.state == "loading" else "it was refused; see /health/ready"
            raise ModelNotReady(f"the model {name!r} is not ready: {reason}", param="model")
        raise ModelNotFound(name, [served.name for served in self.ready(task)], task)

    def ready(self, task: str | None = None) -> list[Servable]:
        """The models that are served, by name; only those of one task if it is given."""
        return [self._models[name] for name in sorted(self._models) if task in (None, self._models[name].manifest.task)]

    def statuses(self) -> list[ModelStatus]:
        return sorted(self._statuses.values(), key=lambda status: status.name)

    async def drain(self, grace_s: float) -> None:
        """Refuse new work everywhere at once, then let what was accepted finish."""
        for model in self._models.values():
            model.stop_accepting()
        for model in self._models.values():
            await model.drain(grace_s)

    def _scan(self) -> list[tuple[str, str]]:
        """(name, newest version) of each folder that looks like a model."""
        if not self.root.is_dir():
            return []
        found: list[tuple[str, str]] = []
        for folder in sorted(self.root.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                versions = [
                    version.name for version in folder.iterdir() if re.fullmatch("[1-9][0-9]{0,8}", version.name) and version.is_dir()
                ]
                found += [(folder.name, max(versions, key=int))] if versions else []
        return found

    def _load(self, name: str, version: str) -> Servable:
        directory = self.root / name / version
        if not re.fullmatch(NAME_PATTERN, name):
            raise ModelRejected("a model's name has only a-z, 0-9, '.', '_' and '-'; rename the folder")
        if not directory.resolve().is_relative_to(self.root.resolve()):
            raise ModelRejected("the folder is a link that leaves the model repository; copy the model into it")
        manifest = load_manifest(directory)
        pipeline_class = self._pipelines.get(manifest.task)
        if pipeline_class is None:
            raise ModelRejected(f"this server has no task {manifest.task!r}; it has: {', '.join(sorted(self._pipelines))}")
        if "model" not in manifest.graphs:
            raise ModelRejected(f"the task {manifest.task!r} wants a graph called 'model'; name one so in manifest.json")
        graph = manifest.graphs["model"]
        session = OrtSession(
            directory / graph.file,
            provider=self._options.provider,
            threads=self._options.cores if pipeline_class.served_by.wide_runs else 1,
            strict_provider=self._options.strict_provider,
        )
        _check_signature(graph, session)
        if session.actual_provider != session.requested_provider:
            logger.warning("%s: asked for %s, got %s", name, session.requested_provider, session.actual_provider)
        return self._serve(manifest, directory, pipeline_class, session)

    def _serve(self, manifest: ModelManifest, directory: Path, pipeline_class: type[Pipeline], session: OrtSession) -> Servable:
        pipeline = pipeline_class.load(manifest, directory, self._options.limits)
        model = pipeline_class.served_by(manifest, directory, pipeline, session, self._executor, self._metrics, self._options)
        model.warm_up()
        return model

    def _refuse(self, status: ModelStatus, reason: str) -> None:
        logger.error("%s/%s is refused: %s", status.name, status.version, reason)
        self._statuses[status.name] = ModelStatus(status.name, status.version, "refused", reason)


def _check_signature(graph: Graph, session: OrtSession) -> None:
    """The manifest must say of the graph what the file says of itself."""
    inputs, outputs = session.signature()
    for kind, specs, actual in (("inputs", graph.inputs, inputs), ("outputs", graph.outputs, outputs)):
        declared = {spec.name: (spec.datatype, spec.shape) for spec in specs}
        if declared.keys() != actual.keys() or not all(_fits(declared[name], actual[name]) for name in actual):
            raise ModelRejected(f"the manifest's {kind} of {graph.file} are {declared}, the file's are {actual}; export the model again")


def _fits(declared: tuple[str, tuple[int, ...]], actual: tuple[str, tuple[int, ...]]) -> bool:
    """The same datatype and rank, and no axis of fixed length that the manifest does not know of."""
    (datatype, shape), (actual_datatype, actual_shape) = declared, actual
    sizes = zip(shape, actual_shape, strict=False)
    return datatype == actual_datatype and len(shape) == len(actual_shape) and all(fixed in (-1, size) for size, fixed in sizes)
