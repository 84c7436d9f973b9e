"""`axon serve | models | check`: read the settings, do one thing."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from app import server
from app.api.validation import explain
from app.contract.fields import printable
from app.errors import ModelRejected
from app.main import make_repository
from app.observability import configure_logging
from app.runtime.loader import read_manifest, scan
from app.runtime.metrics import ServingMetrics
from app.runtime.run_threads import end_process
from app.settings import Settings, unknown_variables

logger = logging.getLogger("axon.settings")


def serve(settings: Settings) -> None:
    """Run the server until it is told to stop."""
    configure_logging(settings.log_format)
    for name in unknown_variables(os.environ):
        logger.warning("%s is no setting of the server, so it changes nothing; README.md lists those that are", name)
    server.run(settings)


def list_models(settings: Settings) -> None:
    """A line for each version that lies in the repository, from its manifest and the hashes of its files; nothing is loaded."""
    rows = [_row(settings.models, name, version) for name, version in _found(settings.models)]
    heads = ("name", "version", "task", "title", "size", "state")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _found(root: Path) -> list[tuple[str, str]]:
    """(name, version); where there is none the command ends."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        found = scan(root)
    if not found:
        sys.exit(f"axon: there is no model in {root}")
    return found


def _row(root: Path, name: str, version: str) -> tuple[str, str, str, str, str, str]:
    size = ""
    try:
        size = _megabytes(root / name / version)
        manifest = read_manifest(root, name, version)
    except ModelRejected as error:
        return name, version, "", "", size, f"refused: {printable(str(error))}"
    except (OSError, ValueError, RuntimeError) as error:  # a folder that may not be entered, a path that is none, a link to itself
        reason = getattr(error, "strerror", None) or str(error)
        return name, version, "", "", size, f"refused: the folder cannot be read ({printable(reason)})"
    return name, version, manifest.task, printable(manifest.title), size, "whole"


def _megabytes(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e6:.1f} MB"


def check(settings: Settings) -> None:
    """Load every version, replay its golden request, print a line each; exit 1 if one is refused or there is none."""
    _found(settings.models)
    with ThreadPoolExecutor(1) as executor:
        repository = make_repository(settings, executor, 1, ServingMetrics())
        repository.load_all()
    statuses = repository.statuses()
    for status in statuses:
        print(f"{status.name}/{status.version}  {status.state}" + (f"  {printable(status.reason)}" if status.reason else ""))
    end_process(1 if any(status.state == "refused" for status in statuses) else 0)


COMMANDS = {"serve": serve, "models": list_models, "check": check}


def run() -> None:
    parser = argparse.ArgumentParser(prog="axon", description="Serve trained models over REST. Settings: AXON_* variables, see README.md.")
    parser.add_argument(
        "command",
        choices=COMMANDS,
        help="serve them; list the models of the repository; or check, without serving, that each loads and answers as at its export",
    )
    parser.add_argument("models", nargs="?", help="the model repository (default: AXON_MODELS, or ./models)")
    arguments = parser.parse_args()
    try:
        settings = Settings(**({"models": arguments.models} if arguments.models is not None else {}))
    except ValidationError as error:
        problem = explain(error.errors())
        sys.exit(f"axon: AXON_{(problem.param or '').upper()}: {problem.message}")
    except OSError as error:
        sys.exit(f"axon: a setting names {error.filename}, which cannot be read: {error.strerror}")
    COMMANDS[arguments.command](settings)
