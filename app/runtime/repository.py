"""The model repository: a folder of `<name>/<version>/`, what of it is served, and why the rest is not."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from weakref import WeakSet

from app.contract.manifest import NAME_PATTERN, ModelManifest, load_manifest
from app.errors import ModelNotFound, ModelNotReady, ModelRejected
from app.runtime.metrics import ServingMetrics
from app.runtime.options import RuntimeOptions
from app.runtime.pipeline import Pipeline, Servable
from app.runtime.session import OrtSession
from app.runtime.signature import check_signature

logger = logging.getLogger("axon.models")

State = Literal["loading", "ready", "refused", "stuck"]


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
        self._alive: WeakSet[Servable] = WeakSet()  # with those that were replaced and still answer what they had accepted
        self._changing = asyncio.Lock()
        self._statuses: dict[str, ModelStatus] = {}
        for name, version in self._scan():
            self._statuses[name] = ModelStatus(name, version, "loading")
            metrics.model_ready.labels(name, version).set(0)

    def load_all(self) -> None:
        """Load and warm every model. One that cannot be served is refused, with its reason; the others go on."""
        if not self._statuses:
            logger.warning("there is no model in %s", self.root)
        for status in list(self._statuses.values()):
            try:
                self._admit(self._load(status.name, status.version))
            except ModelRejected as error:
                self._refuse(status, str(error))

    async def load(self, name: str) -> None:
        """Load the newest version that lies in the folder now; what is served goes on serving until it is warm.

        Raises ModelNotFound, ModelNotReady (the server is still starting), or ModelRejected: what was served is served still.
        """
        async with self._changing:
            version = dict(await asyncio.to_thread(self._scan)).get(name)
            if version is None:
                raise ModelNotFound(name, [found for found, _ in self._scan()])
            self._check_loaded(name)
            try:
                model = await asyncio.to_thread(self._load, name, version)
            except ModelRejected as error:
                if name not in self._models:
                    self._refuse(ModelStatus(name, version, "loading"), str(error))
                raise
            self._forget(name)
            self._admit(model)
        await asyncio.to_thread(gc.collect)  # a session and its batcher know each other: their memory would come back late

    async def unload(self, name: str) -> None:
        """Serve a model no longer; what it has accepted is still answered. Raises ModelNotFound, ModelNotReady."""
        async with self._changing:
            if name not in self._statuses:
                raise ModelNotFound(name, self._statuses)
            self._check_loaded(name)
            self._forget(name)
            logger.info("%s is unloaded", name)
        await asyncio.to_thread(gc.collect)

    def unserved(self) -> list[tuple[str, str]]:
        """(name, newest version) of each model that lies in the folder and was unloaded, or came after the start."""
        return [(name, version) for name, version in self._scan() if name not in self._statuses]

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
        """By name. A model that is served and whose runs do not come back is stuck."""
        return [self._status_now(self._statuses[name]) for name in sorted(self._statuses)]

    def _status_now(self, status: ModelStatus) -> ModelStatus:
        model = self._models.get(status.name)
        problem = None if model is None else model.health.problem
        return status if problem is None else ModelStatus(status.name, status.version, "stuck", problem)

    async def drain(self, grace_s: float) -> None:
        """Refuse new work everywhere at once, then let what was accepted finish."""
        models = list(self._alive)
        for model in models:
            model.stop_accepting()
        await asyncio.gather(*(model.drain(grace_s) for model in models))

    def _admit(self, model: Servable) -> None:
        name, version = model.name, model.manifest.version
        self._alive.add(model)
        self._models[name] = model
        self._statuses[name] = ModelStatus(name, version, "ready")
        self._metrics.model_ready.labels(name, version).set(1)
        logger.info("%s/%s is ready", name, version)

    def _forget(self, name: str) -> None:
        """Hand the model out no more: it goes when the last request that holds it is answered."""
        model = self._models.pop(name, None)
        self._statuses.pop(name, None)
        if model is not None:
            self._metrics.model_ready.labels(name, model.manifest.version).set(0)

    def _check_loaded(self, name: str) -> None:
        if name in self._statuses and self._statuses[name].state == "loading":
            raise ModelNotReady(f"the model {name!r} is still loading", param="model")

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
        """Raises ModelRejected, whatever goes wrong."""
        try:
            return self._open(name, version)
        except ModelRejected:
            raise
        except Exception as error:
            logger.exception("%s/%s failed to load", name, version)
            raise ModelRejected(f"loading failed ({type(error).__name__}); the server's log has the details") from None

    def _open(self, name: str, version: str) -> Servable:
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
        check_signature(graph, session)
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
        self._metrics.model_ready.labels(status.name, status.version).set(0)
