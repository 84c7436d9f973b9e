"""The demo page: static files of the package, no build step, nothing from any other machine."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

FOLDER = Path(__file__).parents[1] / "web"

router = APIRouter(include_in_schema=False)
static_files = StaticFiles(directory=FOLDER)


@router.get("/")
async def home() -> Response:
    """A form for each served model, and its card."""
    return FileResponse(FOLDER / "index.html")


class WholeFiles:
    """Answers with whole files, whatever Range asks for, as HTTP allows: none is large.

    The error of a wrong range would have no shape of ours.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(name == b"range" for name, _ in scope["headers"]):
            scope = {**scope, "headers": [header for header in scope["headers"] if header[0] != b"range"]}
        await self._app(scope, receive, send)
