"""A model's manifest names the machine that trained it, also where another one exports it."""

from __future__ import annotations

import json
from pathlib import Path

from training.kit.provenance import trained_on
from training.kit.run_log import RunLog, hardware


def test_an_epoch_names_its_machine(tmp_path: Path) -> None:
    RunLog(tmp_path).write(0, loss=1.0)
    assert RunLog(tmp_path, quiet=True).rows()[0]["hardware"] == hardware() == trained_on(tmp_path)


def test_the_machine_of_the_last_epoch_counts_of_whatever_stage(tmp_path: Path) -> None:
    _write_rows(tmp_path / "finetune", [{"epoch": 0, "time": 3.0, "hardware": "a GPU"}])
    _write_rows(tmp_path / "pretrain", [{"epoch": 0, "time": 1.0, "hardware": "a CPU"}, {"epoch": 1, "time": 2.0, "hardware": "a CPU"}])
    assert trained_on(tmp_path) == "a GPU"


def test_a_log_that_does_not_say_means_this_machine(tmp_path: Path) -> None:
    assert trained_on(tmp_path) == hardware()
    _write_rows(tmp_path, [{"epoch": 0, "time": 1.0}])
    assert trained_on(tmp_path) == hardware()


def _write_rows(folder: Path, rows: list[dict[str, object]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
