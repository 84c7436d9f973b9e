"""`axon serve | models | check`: read the settings, do one thing."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from pydantic import ValidationError

from app.api.validation import explain
from app.main import create_app, make_repository
from app.observability import configure_logging
from app.runtime.metrics import ServingMetrics
from app.runtime.repository import ModelRepository
from app.settings import Settings


def serve(settings: Settings) -> None:
    """Run the server until it is told to stop."""
    configure_logging(settings.log_format)
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, access_log=False, server_header=False, log_level="warning")


def list_models(settings: Settings) -> None:
    """One line a model: name, version, state; a refused one says why."""
    for status in _loaded(settings).statuses():
        print(f"{status.name}/{status.version}  {status.state}" + (f"  {status.reason}" if status.reason else ""))


def check(settings: Settings) -> None:
    """Load every model, replay its golden request, and exit 1 if any is refused or there is none."""
    list_models(settings)
    states = [status.state for status in _loaded(settings).statuses()]
    if not states:
        sys.exit(f"axon: there is no model in {settings.models}")
    if "refused" in states:
        sys.exit(1)


def _loaded(settings: Settings) -> ModelRepository:
    with ThreadPoolExecutor(1) as executor:
        repository = make_repository(settings, executor, 1, ServingMetrics())
        repository.load_all()
    return repository


COMMANDS = {"serve": serve, "models": list_models, "check": check}


def main() -> None:
    parser = argparse.ArgumentParser(prog="axon", description="Serve trained models over REST. Settings: AXON_* variables, see README.md.")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("models", nargs="?", type=Path, help="the model repository (default: AXON_MODELS, or ./models)")
    arguments = parser.parse_args()
    try:
        settings = Settings(**({"models": arguments.models} if arguments.models else {}))
    except ValidationError as error:
        problem = explain(error.errors())
        sys.exit(f"axon: AXON_{(problem.param or '').upper()}: {problem.message}")
    COMMANDS[arguments.command](settings)


if __name__ == "__main__":
    main()
