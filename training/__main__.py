"""`axon-train <model> prepare | train | evaluate | export [--preset NAME] [key=value ...]`; a recipe may have more commands."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import pkgutil
import signal
import sys
from pathlib import Path

from app.errors import ModelRejected
from training import recipes
from training.kit.config import ConfigError, load_config
from training.kit.data import DataError
from training.kit.run import Run
from training.kit.sanity import InsaneFigure

COMMANDS = ("prepare", "train", "evaluate", "export")
OPTIONS = ("--help", "--preset", "--data-root", "--run", "--run-folder", "--models")


def recipe_names() -> list[str]:
    """Every recipe folder, spelled as its model: `skin_lesion` is `skin-lesion`."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(recipes.__path__) if module.ispkg)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="axon-train", description="Train a model and export it, proved, for the server.", allow_abbrev=False
    )
    parser.add_argument("model", choices=recipe_names())
    parser.add_argument("command", help=f"{', '.join(COMMANDS)}, or one of the recipe's own (see its README)")
    parser.add_argument("--preset", default="full", help="presets/NAME.toml of the recipe (default: full)")
    parser.add_argument("--data-root", default=os.environ.get("AXON_DATA"), help="folder of the data sets (default: AXON_DATA)")
    # torchrun takes a bare --run for its own --run-path: under it write --run-folder
    parser.add_argument("--run", "--run-folder", type=Path, help="folder for checkpoints, logs and plots (default: runs/MODEL/PRESET)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="model repository that `export` writes into")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="settings that differ from the preset; also --key value"
    )
    # options may stand between the overrides
    return parser.parse_intermixed_args(as_overrides(sys.argv[1:] if arguments is None else arguments))


def as_overrides(arguments: list[str]) -> list[str]:
    """`--content photo.jpg` and `--content=photo.jpg` are the setting `content=photo.jpg`; the options above stay as they are."""
    result: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, separator, value = argument.partition("=")
        if not name.startswith("--") or name in OPTIONS:
            result.append(argument)
        else:
            result.append(f"{name[2:].replace('-', '_')}={value if separator else next(rest, '')}")
    return result


def step_of(arguments: argparse.Namespace, package: str) -> str:
    """The module that does the command. Raises ConfigError that lists the recipe's commands."""
    own = getattr(importlib.import_module(package), "COMMANDS", {})
    module = "data" if arguments.command == "prepare" else arguments.command.replace("-", "_")
    if arguments.command in own:  # its bare word is a setting: `add-style painting.jpg` is `painting=painting.jpg`
        arguments.overrides = [text if "=" in text else f"{own[arguments.command]}={text}" for text in arguments.overrides]
    elif arguments.command not in COMMANDS or importlib.util.find_spec(f"{package}.{module}") is None:
        there = [command for command in COMMANDS if command == "prepare" or importlib.util.find_spec(f"{package}.{command}")]
        raise ConfigError(f"{arguments.model} has no command {arguments.command!r}; it has: {', '.join([*there, *own])}")
    return f"{package}.{module}"


def data_root(arguments: argparse.Namespace) -> Path | None:
    """Where the data sets are, or will be when they are downloaded. Raises ConfigError for what is no folder."""
    if not arguments.data_root:
        return None
    folder = Path(arguments.data_root)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder: --data-root or AXON_DATA names the one that holds the data sets")
    return folder


def main() -> None:
    arguments = parse()
    package = "training.recipes." + arguments.model.replace("-", "_")
    folder = Path(importlib.import_module(package).__path__[0])
    try:
        module = step_of(arguments, package)
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
            data_root=data_root(arguments),
            models=arguments.models,
        )
        step = importlib.import_module(module)
        (step.prepare if arguments.command == "prepare" else step.main)(run)
    except (ConfigError, DataError, InsaneFigure, ModelRejected, OSError) as error:
        sys.exit(f"axon-train: {error}")
    except KeyboardInterrupt:  # the process ends as if it had not heard: so does a shell's loop over several
        print("\naxon-train: stopped", file=sys.stderr)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
