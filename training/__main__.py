"""`axon-train <model> prepare | train | evaluate | export [--preset NAME] [key=value ...]`."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from pathlib import Path

from training import recipes
from training.kit.config import ConfigError, load_config
from training.kit.data import DataError
from training.kit.run import Run

COMMANDS = ("prepare", "train", "evaluate", "export")


def recipe_names() -> list[str]:
    """Every recipe folder, spelled as its model: `skin_lesion` is `skin-lesion`."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(recipes.__path__) if module.ispkg)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="axon-train", description="Train a model and export it, proved, for the server.")
    parser.add_argument("model", choices=recipe_names())
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--preset", default="full", help="presets/NAME.toml of the recipe (default: full)")
    parser.add_argument("--data-root", type=Path, default=os.environ.get("AXON_DATA"), help="folder of the data sets (default: AXON_DATA)")
    # torchrun takes a bare --run for its own --run-path: under it write --run-folder
    parser.add_argument("--run", "--run-folder", type=Path, help="folder for checkpoints, logs and plots (default: runs/MODEL/PRESET)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="model repository that `export` writes into")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that differ from the preset")
    return parser.parse_intermixed_args(arguments)  # options may stand between the overrides


def main() -> None:
    arguments = parse()
    package = "training.recipes." + arguments.model.replace("-", "_")
    folder = Path(importlib.import_module(package).__path__[0])
    try:
        config = load_config(
            importlib.import_module(f"{package}.config").Config,
            folder / "presets" / f"{arguments.preset}.toml",
            arguments.overrides,
        )
        run = Run(
            recipe=arguments.model,
            preset=arguments.preset,
            config=config,
            directory=arguments.run or Path("runs") / arguments.model / arguments.preset,
            data_root=Path(arguments.data_root) if arguments.data_root else None,
            models=arguments.models,
        )
        module = "data" if arguments.command == "prepare" else arguments.command
        step = importlib.import_module(f"{package}.{module}")
        (step.prepare if arguments.command == "prepare" else step.main)(run)
    except (ConfigError, DataError) as error:
        sys.exit(f"axon-train: {error}")


if __name__ == "__main__":
    main()
