"""Every address that the application answers at, as its own routing table has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
NAMES = {"model": "words", "name": "words", "version": "1"}


def addresses(app: FastAPI) -> list[str]:
    """A path for each route, and for each file of each mounted folder."""
    found: list[str] = []
    for route in iter_route_contexts(app.routes):
        mount = next((each for each in app.routes if isinstance(each, Mount) and each.path == route.path), None)
        if mount is None:
            assert route.path is not None, "a route without a path: the walk would miss it"
            found.append(route.path.format(**NAMES))
        else:
            found += [mount.path, f"{mount.path}/", *(f"{mount.path}/{file}" for file in _files(mount))]
    return found


def _files(mount: Mount) -> Iterator[str]:
    assert isinstance(mount.app, StaticFiles), f"{mount.path} is not a folder of files: the walk must learn to walk it"
    for folder in mount.app.all_directories:
        yield from (str(file.relative_to(folder)) for file in Path(folder).rglob("*") if file.is_file())
