"""From a folder `<name>/<version>/` to a model that is warm, or to the reason why there is none."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TypeVar

from app.contract.manifest import MANIFEST_FILE, NAME_PATTERN, ModelManifest, load_manifest
from app.errors import ModelRejected
from app.runtime.metrics import ServingMetrics
from app.runtime.options import RuntimeOptions
from app.runtime.pipeline import Pipeline, Servable
from app.runtime.run_threads import RunThreads
from app.runtime.session import OrtSession
from app.runtime.sessions import open_session, progress
from app.runtime.signature import check_signature

logger = logging.getLogger("axon.models")

VERSION = re.compile("[1-9][0-9]{0,8}")

Made = TypeVar("Made")


class ModelLoader:
    """Knows the folder, and nothing of what is served."""

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

    def folders(self, level: int = logging.WARNING) -> dict[str, list[str] | None]:
        """As `folders` of the root."""
        return folders(self.root, level)

    def fingerprint(self, name: str, version: str) -> str:
        """Changes when the manifest does, or when any file of the folder is written again."""
        folder = self.root / name / version
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            try:
                stat = path.stat()
                digest.update(f"{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
                digest.update(path.read_bytes() if path.name == MANIFEST_FILE else b"")
            except OSError:
                continue  # it goes while we look
        return digest.hexdigest()

    def begin(self, work: Callable[[], Made]) -> Future[Made]:
        """In a thread that is given up when it does not come back in time: native code cannot be ended from outside, nor can a file
        system that hangs.
        """
        thread = RunThreads(1, self._options.load_timeout_s, _load_stuck)
        working: Future[Made] = thread.submit(work)
        working.add_done_callback(lambda _: thread.shutdown(wait=False))
        return working

    def load(self, name: str, version: str) -> Servable:
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
        manifest = read_manifest(self.root, name, version)
        pipeline_class = self._pipelines.get(manifest.task)
        if pipeline_class is None:
            raise ModelRejected(f"this server has no task {manifest.task!r}; it has: {', '.join(sorted(self._pipelines))}")
        if "model" not in manifest.graphs:
            raise ModelRejected(f"the task {manifest.task!r} wants a graph called 'model'; name one so in manifest.json")
        graph = manifest.graphs["model"]
        device, threads = self._options.device, self._options.cores if pipeline_class.served_by.wide_runs else 1
        with progress(f"loading {name}/{version}" + ("; TensorRT builds engines" if device.provider == "tensorrt" else "")):
            session = open_session(manifest, directory, device, wide_threads=threads)
            check_signature(graph, session)
            return self._serve(manifest, directory, pipeline_class, session)

    def _serve(self, manifest: ModelManifest, directory: Path, pipeline_class: type[Pipeline], session: OrtSession) -> Servable:
        pipeline = pipeline_class.load(manifest, directory, self._options.limits)
        model = pipeline_class.served_by(manifest, directory, pipeline, session, self._executor, self._metrics, self._options)
        model.warm_up()
        return model


def _load_stuck(after_s: float) -> ModelRejected:
    return ModelRejected(f"loading took longer than {after_s:g} s and was given up; see that its graph runs, or raise AXON_LOAD_TIMEOUT_MS")


def scan(root: Path) -> list[tuple[str, str]]:
    """(name, version) of each folder that looks like one, by name, the newest version first. Raises OSError as `folders` does."""
    return listed(folders(root))


def listed(found: Mapping[str, list[str] | None]) -> list[tuple[str, str]]:
    """(name, version)"""
    return [(name, version) for name, versions in found.items() for version in versions or ()]


def folders(root: Path, level: int = logging.WARNING) -> dict[str, list[str] | None]:
    """By name the versions in each folder, the newest first, or None where it cannot be read.

    What is passed over is logged at `level`. Raises OSError where there is no `root`, or none that can be read.
    """
    found: dict[str, list[str] | None] = {}
    for folder in sorted(root.iterdir()):
        if folder.name.startswith("."):
            continue
        if not folder.name.isprintable():
            logger.log(level, "%s is not served: its name does not print; rename it", ascii(folder.name))
            continue
        try:
            if folder.is_dir():
                versions = [each.name for each in folder.iterdir() if each.is_dir() and _is_version(each, level)]
                found[folder.name] = sorted(versions, key=int, reverse=True)
                if not versions and _holds_manifest(folder):
                    logger.log(level, "%s is not served: it has no folder of a version; move its files into %s/1", folder, folder)
        except OSError as error:
            logger.log(level, "%s cannot be read (%s), and nothing that is new in it is served", folder, error.strerror)
            found[folder.name] = None
    return found


def _is_version(folder: Path, level: int) -> bool:
    if VERSION.fullmatch(folder.name):
        return True
    if not folder.name.startswith(".") and _holds_manifest(folder):
        logger.log(level, "%s is not served: a version is a whole number from 1 on, without zeros before it; rename the folder", folder)
    return False


def _holds_manifest(folder: Path) -> bool:
    """False also where that cannot be read."""
    return os.path.isfile(folder / MANIFEST_FILE)  # noqa: PTH113


def read_manifest(root: Path, name: str, version: str) -> ModelManifest:
    """The manifest, its files checked. Raises ModelRejected."""
    directory = root / name / version
    if not re.fullmatch(NAME_PATTERN, name):
        raise ModelRejected("a model's name has only a-z, 0-9, '.', '_' and '-'; rename the folder")
    if not directory.resolve().is_relative_to(root.resolve()):
        raise ModelRejected("the folder is a link that leaves the model repository; copy the model into it")
    return load_manifest(directory)
