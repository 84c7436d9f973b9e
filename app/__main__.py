"""`axon serve | check`: read the settings, do one thing."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from app import server
from app.api.validation import explain
from app.main import make_repository
from app.observability import configure_logging
from app.runtime.metrics import ServingMetrics
from app.settings import Settings


def serve(settings: Settings) -> None:
    """Run the server until it is told to stop."""
    configure_logging(settings.log_format)
    server.run(settings)


def check(settings: Settings) -> None:
    """Load every model, replay its golden request, print a line each; exit 1 if one is refused or there is none."""
    with ThreadPoolExecutor(1) as executor:
        repository = make_repository(settings, executor, 1, ServingMetrics())
        repository.load_all()
    statuses = repository.statuses()
    for status in statuses:
        print(f"{status.name}/{status.version}  {status.state}" + (f"  {status.reason}" if status.reason else ""))
    if not statuses:
        sys.exit(f"axon: there is no model in {settings.models}")
    if any(status.state == "refused" for status in statuses):
        sys.exit(1)


COMMANDS = {"serve": serve, "check": check}


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
