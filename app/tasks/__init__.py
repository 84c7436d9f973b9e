"""What is served: one folder a task, each exporting `router` and `Pipeline`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, cast

from fastapi import APIRouter

from app.runtime.pipeline import Pipeline as PipelineProtocol


class Task(Protocol):
    """The module of a task folder."""

    router: APIRouter
    Pipeline: type[PipelineProtocol]


def discover() -> list[Task]:
    """Every task folder: a new task needs no other line."""
    folders = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    return [cast(Task, importlib.import_module(f"{__name__}.{folder}")) for folder in folders]
