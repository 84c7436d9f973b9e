"""The shapes of folders, files and functions: a convention that matters is a check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import tasks

ROOT = Path(__file__).parents[2]
CODE = [file for folder in ("app", "training", "bench") for file in sorted((ROOT / folder).rglob("*.py"))]
RECIPES = sorted(folder for folder in (ROOT / "training" / "recipes").iterdir() if (folder / "config.py").is_file())
TASKS = sorted(folder for folder in (ROOT / "app" / "tasks").iterdir() if (folder / "__init__.py").is_file())

TASK_FILES = {"__init__.py", "schemas.py", "pipeline.py", "endpoints.py"}
MORE_TASK_FILES = {"text_generation": {"generate.py", "openai.py"}}
RECIPE_FILES = {"__init__.py", "README.md", "config.py", "data.py", "model.py", "train.py", "evaluate.py", "export.py"}
NOTHING_TO_EXPORT = {"gatys"}  # what it makes is a picture: there is no network that a server could run
FILE_LINES, FUNCTION_LINES, MAIN_LINES = 300, 45, 80
VAGUE = re.compile(r"^(utils?|helpers?|common|misc|tools|stuff|base)(_|\.py$|$)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(file: Path) -> Iterator[tuple[str, int]]:
    """(name, lines) of each function, its decorators and docstring left out."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            yield node.name, (node.end_lineno or 0) - first.lineno + 1


@pytest.mark.parametrize("file", CODE, ids=name_of)
def test_a_file_is_small(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= FILE_LINES


@pytest.mark.parametrize("file", CODE, ids=name_of)
def test_a_function_is_small(file: Path) -> None:
    is_recipe = ROOT / "training" / "recipes" in file.parents
    for name, lines in functions(file):
        assert lines <= (MAIN_LINES if is_recipe and name == "main" else FUNCTION_LINES), f"{name}: {lines} lines"


@pytest.mark.parametrize("file", CODE, ids=name_of)
def test_a_file_says_what_it_is_and_is_named_for_it(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), "no docstring"
    for part in file.relative_to(ROOT).parts:
        assert not VAGUE.match(part), part


@pytest.mark.parametrize("folder", TASKS, ids=name_of)
def test_a_task_is_the_same_four_files(folder: Path) -> None:
    assert {file.name for file in folder.glob("*.py")} == TASK_FILES | MORE_TASK_FILES.get(folder.name, set())


def test_every_task_folder_is_discovered() -> None:
    assert [task.Pipeline.task for task in tasks.discover()] == [folder.name.replace("_", "-") for folder in TASKS]
    assert len(TASKS) >= 2


@pytest.mark.parametrize("folder", RECIPES, ids=name_of)
def test_a_recipe_has_the_files_of_every_recipe(folder: Path) -> None:
    wanted = RECIPE_FILES - {"export.py"} if folder.name in NOTHING_TO_EXPORT else RECIPE_FILES
    assert {file.name for file in folder.iterdir()} >= wanted
    assert {file.name for file in (folder / "presets").glob("*.toml")} > {"tiny.toml"}  # and one a shipped model: `full`, or its name


def test_the_recipes_are_those_that_the_issue_asks_for() -> None:
    assert {folder.name for folder in RECIPES} >= {"sentiment", "skin_lesion", "gatys", "style_transfer"}
