"""The model repository: what of a folder of `<name>/<version>/` is served, and why the rest is not.

Every version that lies there is served; whoever names none gets the newest that is warm. A change of the folder is taken up
when the server is told to look: what is served goes on serving until its successor is warm, and stays where that is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar
from weakref import WeakSet

from app.errors import ModelNotFound, ModelNotReady, ModelRejected
from app.runtime.loader import ModelLoader, listed
from app.runtime.loading import Loading
from app.runtime.metrics import ServingMetrics
from app.runtime.pipeline import Servable

logger = logging.getLogger("axon.models")

Held = TypeVar("Held")
State = Literal["loading", "ready", "refused", "stuck"]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Where one version stands; `reason` says what to do about one that is refused, or whose new files are."""

    name: str
    version: str
    state: State
    reason: str | None = None
    needed: bool = True  # for the server to be ready: those that were there at its start


@dataclass(slots=True)
class _Version:
    """What is known of one folder."""

    status: ModelStatus
    model: Servable | None = None
    fingerprint: str = ""  # of the files that were tried last

    def status_now(self) -> ModelStatus:
        problem = None if self.model is None else self.model.health.problem
        return self.status if problem is None else replace(self.status, state="stuck", reason=problem)


class ModelRepository:
    """Hands out the models that are warm, and follows its folder when it is told to."""

    def __init__(self, loader: ModelLoader, metrics: ServingMetrics, settle: Callable[[], object] = gc.collect) -> None:
        """`settle` is called when models came or went: a session and its batcher know each other, so their memory would come back late."""
        self._loader = loader
        self._settle = settle
        self._metrics = metrics
        self._versions: dict[str, dict[str, _Version]] = {}
        self._served: dict[str, dict[str, Servable]] = {}  # by name and version, the newest first
        self._alive: WeakSet[Servable] = WeakSet()  # with those that were replaced and still answer what they had accepted
        self._changing = asyncio.Lock()
        self._loading = Loading(loader.begin)
        with contextlib.suppress(FileNotFoundError):  # the folder may come later
            for name, version in listed(loader.folders()):
                self._note(ModelStatus(name, version, "loading"))
        if not self._versions:
            logger.warning("there is no model in %s", loader.root)

    async def start(self) -> None:
        """Load and warm every model. One that cannot be served is refused, with its reason; the others go on."""
        await self._change(self._take_up_all)

    def load_all(self) -> None:
        """What `start` does, for whoever has no event loop."""
        for status in self.statuses():
            try:
                if model := self._loader.begin(partial(self._load_if_changed, status.name, status.version)).result():
                    self._admit(model)
            except ModelRejected as error:
                self._refuse(status.name, status.version, str(error))

    async def load(self, name: str) -> None:
        """Bring one model in line with its folder, as `rescan` does.

        Raises ModelNotFound, ModelNotReady (the server is still starting), or ModelRejected for the newest version that was refused.
        """
        self._check_loaded(name)
        async with self._changing:
            try:
                found = await self._loading.run(self._loader.folders)
            except OSError as error:
                logger.error("%s cannot be read (%s)", self._loader.root, error.strerror)
                raise ModelRejected("the model repository cannot be read; the server's log has the details") from None
            versions = found.get(name)
            if not versions:
                raise ModelNotFound(name, sorted({each for each, _ in listed(found)}))
            problems = await self._follow(name, versions)
        await asyncio.to_thread(self._settle)
        if problems:
            version, reason = next(iter(problems.items()))
            raise ModelRejected(f"version {version}: {reason}")

    async def unload(self, name: str) -> None:
        """Serve no version of a model any longer; what they have accepted is still answered. Raises ModelNotFound, ModelNotReady."""
        self._check_loaded(name)
        async with self._changing:
            if name not in self._versions:
                raise ModelNotFound(name, sorted(self._versions))
            for version in list(self._versions[name]):
                self._forget(name, version)
        await asyncio.to_thread(self._settle)

    async def rescan(self) -> None:
        """Bring everything in line with the folder: new versions are loaded, changed ones replaced, those that are gone unloaded.

        Of what cannot be read nothing changes.
        """
        await self._change(self._follow_all)

    async def unserved(self) -> list[tuple[str, str]]:
        """(name, version) of what lies in the folder and was unloaded, or came after the start."""
        try:
            folders = await asyncio.to_thread(self._loader.folders, logging.DEBUG)  # whoever asks brings no warnings about
            found = listed(folders)
        except OSError:
            return []
        return [(name, version) for name, version in found if version not in self._versions.get(name, {})]

    def get(self, name: str, version: str | None = None, task: str | None = None) -> Servable:
        """A warm model, of the newest version if none is asked for. Raises ModelNotFound, naming those that exist, or ModelNotReady."""
        served = self._served.get(name, {})
        model = served.get(version) if version is not None else next(iter(served.values()), None)
        if model is not None and task in (None, model.manifest.task):
            return model
        known = self._versions.get(name, {})
        waiting = known.get(version) if version is not None else next(iter(known.values()), None)
        if model is None and waiting is not None:
            title = name if version is None else f"{name}@{version}"
            reason = "it is still loading" if waiting.status.state == "loading" else "it was refused; see /health/ready"
            raise ModelNotReady(f"the model {title!r} is not ready: {reason}", param="model")
        if model is None and served:
            raise ModelNotFound(f"{name}@{version}", [f"{name}@{each}" for each in sorted(served, key=int)])
        raise ModelNotFound(name, sorted(model.name for model in self.newest(task)), task)

    def newest(self, task: str | None = None) -> list[Servable]:
        """The newest version of each model that is served, by name; only those of one task if it is given."""
        models = [next(iter(self._served[name].values())) for name in sorted(self._served)]
        return [model for model in models if task in (None, model.manifest.task)]

    def all_served(self) -> list[Servable]:
        """Every version, by name, the newest first."""
        return [model for name in sorted(self._served) for model in self._served[name].values()]

    def versions(self, name: str) -> list[str]:
        """Those of a model that are served, the newest first."""
        return list(self._served.get(name, {}))

    def statuses(self) -> list[ModelStatus]:
        """By name, the newest version first."""
        return [known.status_now() for name in sorted(self._versions) for known in self._versions[name].values()]

    def stop_loading(self) -> None:
        """The server ends: what has not begun to load will not, and what is loading is not waited for."""
        self._loading.stop()

    async def drain(self, grace_s: float) -> None:
        """Refuse new work everywhere at once, then let what was accepted finish."""
        self.stop_loading()
        models = list(self._alive)
        for model in models:
            model.stop_accepting()
        await asyncio.gather(*(model.drain(grace_s) for model in models))

    async def _change(self, change: Callable[[], Awaitable[None]]) -> None:
        """Raises nothing: there is nobody who would hear it."""
        try:
            async with self._changing:
                await change()
        except ModelNotReady:
            return  # the server ends
        except OSError as error:
            logger.error("%s cannot be read (%s): nothing changes, what is served stays", self._loader.root, error.strerror)
        except Exception:
            logger.exception("the folder was not taken up whole: what is served stays")
        await asyncio.to_thread(self._settle)

    async def _take_up_all(self) -> None:
        for status in self.statuses():
            await self._take_up(status.name, status.version)

    async def _follow_all(self) -> None:
        """Raises OSError where the folder cannot be read, and ModelNotReady when the server ends."""
        found = await self._loading.run(self._loader.folders)
        for name in sorted({*found, *self._versions}):
            versions = found.get(name, [])
            if versions is not None:
                await self._follow(name, versions)
        states = Counter(status.state for status in self.statuses())
        logger.info("the folder was read again: %s", ", ".join(f"{count} {state}" for state, count in states.items()) or "it is empty")

    async def _follow(self, name: str, versions: list[str]) -> dict[str, str]:
        """Bring one model in line with the versions that lie there; why some were refused, by version, the newest first."""
        for version in set(self._versions.get(name, {})) - set(versions):
            self._forget(name, version)
        problems: dict[str, str] = {}
        for version in versions:
            if version not in self._versions.get(name, {}):
                self._note(ModelStatus(name, version, "loading", needed=False))
            if problem := await self._take_up(name, version):
                problems[version] = problem
        return problems

    async def _take_up(self, name: str, version: str) -> str | None:
        """Serve a version, or note and return why it is refused. Raises ModelNotReady when the server ends."""
        try:
            if model := await self._loading.run(partial(self._load_if_changed, name, version)):
                self._admit(model)
            return None
        except ModelRejected as error:
            reason = str(error)
        except ModelNotReady:
            raise
        except Exception as error:
            logger.exception("%s/%s failed to load", name, version)
            reason = f"loading failed ({type(error).__name__}); the server's log has the details"
        self._refuse(name, version, reason)
        return reason

    def _load_if_changed(self, name: str, version: str) -> Servable | None:
        """None where it is served, and well, and the files are those that were tried last. Raises ModelRejected."""
        known = self._versions[name][version]
        fingerprint = self._loader.fingerprint(name, version)  # before: files that change while they are read are read again
        if known.status_now().state == "ready" and known.fingerprint == fingerprint:
            return None
        known.fingerprint = fingerprint
        return self._loader.load(name, version)

    def _note(self, status: ModelStatus) -> None:
        versions = self._versions.get(status.name, {}) | {status.version: _Version(status)}
        self._versions[status.name] = _newest_first(versions)
        self._metrics.model_ready.labels(status.name, status.version).set(0)

    def _admit(self, model: Servable) -> None:
        name, version = model.name, model.manifest.version
        known = self._versions[name][version]
        if known.model is not None:
            known.model.health.close()
        known.model, known.status = model, replace(known.status, state="ready", reason=None)
        self._alive.add(model)
        self._served[name] = _newest_first(self._served.get(name, {}) | {version: model})
        self._metrics.admitted(name, version, model.session.requested_provider, model.session.actual_provider)
        logger.info("%s/%s is ready", name, version)

    def _refuse(self, name: str, version: str, reason: str) -> None:
        logger.error("%s/%s is refused: %s", name, version, reason)
        known = self._versions[name][version]
        if known.model is None:
            known.status = replace(known.status, state="refused", reason=reason)
        else:
            known.status = replace(known.status, reason=f"the files were changed and are refused: {reason}; those before them are served")

    def _forget(self, name: str, version: str) -> None:
        """Hand the model out no more: it goes when the last request that holds it is answered."""
        known = self._versions[name].pop(version)
        if known.model is not None:
            known.model.health.close()
        self._served.get(name, {}).pop(version, None)
        for by_name in (self._versions, self._served):
            if name in by_name and not by_name[name]:
                del by_name[name]
        self._metrics.unloaded(name, version)
        logger.info("%s/%s is unloaded", name, version)

    def _check_loaded(self, name: str) -> None:
        if any(known.status.state == "loading" for known in self._versions.get(name, {}).values()):
            raise ModelNotReady(f"the model {name!r} is still loading", param="model")


def _newest_first(versions: dict[str, Held]) -> dict[str, Held]:
    return {version: versions[version] for version in sorted(versions, key=int, reverse=True)}
