"""The demo page: static files of the package, no build step, nothing from any other machine."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parents[1] / "web"

router = APIRouter(include_in_schema=False)
static_files = StaticFiles(directory=FOLDER)


@router.get("/")
async def home() -> Response:
    """A form for each served model, and its card."""
    return FileResponse(FOLDER / "index.html", headers={"Cache-Control": "no-cache"})
