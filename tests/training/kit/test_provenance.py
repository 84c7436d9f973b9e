"""A model's manifest names what trained it, also where another machine and another commit export it."""

from __future__ import annotations

import json
from pathlib import Path

from training.kit import origin
from training.kit.provenance import describe, trained_on
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.gatys.config import Config


def test_an_epoch_names_its_machine_its_versions_and_its_commit(tmp_path: Path) -> None:
    RunLog(tmp_path, "gatys").write(0, loss=1.0)
    (row,) = RunLog(tmp_path, quiet=True).rows()
    assert row["hardware"] == origin.hardware() == trained_on(tmp_path)
    assert (row["versions"], row["commit"]) == (origin.versions(), origin.commit("gatys"))


def test_the_machine_of_the_last_epoch_counts_of_whatever_stage(tmp_path: Path) -> None:
    _write_rows(tmp_path / "finetune", [{"epoch": 0, "time": 3.0, "hardware": "a GPU"}])
    _write_rows(tmp_path / "pretrain", [{"epoch": 0, "time": 1.0, "hardware": "a CPU"}, {"epoch": 1, "time": 2.0, "hardware": "a CPU"}])
    assert trained_on(tmp_path) == "a GPU"


def test_a_log_that_does_not_say_means_an_unknown_machine(tmp_path: Path) -> None:
    assert trained_on(tmp_path) == "unknown"
    _write_rows(tmp_path, [{"epoch": 0, "time": 1.0}])
    assert trained_on(tmp_path) == "unknown"


def test_commit_and_versions_are_those_of_the_training(tmp_path: Path) -> None:
    _write_rows(tmp_path / "first", [{"epoch": 0, "time": 1.0, "hardware": "a CPU", "commit": "older", "versions": {"torch": "1"}}])
    _write_rows(tmp_path / "second", [{"epoch": 0, "time": 2.0, "hardware": "a GPU", "commit": "newer", "versions": {"torch": "2"}}])
    _write_rows(tmp_path / "old", [{"epoch": 0, "time": 3.0}])
    run = Run("gatys", "full", Config(), tmp_path / "old", data_root=None)
    found = describe(run, (), trained_at=2.0, duration_s=3.0, directories=[tmp_path / "first", tmp_path / "second"])
    assert (found.commit, found.versions, found.hardware) == ("newer", {"torch": "2"}, "a CPU; a GPU")
    assert describe(run, (), trained_at=2.0, duration_s=3.0).commit == "unknown"
    assert describe(run, (), trained_at=2.0, duration_s=3.0).versions == origin.versions()


def _write_rows(folder: Path, rows: list[dict[str, object]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
