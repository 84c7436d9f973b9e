"""A run's log after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.kit.run_log import RunLog


@pytest.mark.parametrize("cut", ['{"epoch": 2, "ti', '{"epoch": 2, "time": 3.0, "hardware": "a C\n', "\x00\x00"])
def test_a_last_line_that_was_cut_is_left_out(tmp_path: Path, cut: str) -> None:
    log = RunLog(tmp_path)
    for epoch in range(2):
        log.write(epoch, loss=1.0)
    with log.path.open("a") as file:
        file.write(cut)
    assert [row["epoch"] for row in RunLog(tmp_path, quiet=True).rows()] == [0, 1]
    RunLog(tmp_path, resume_epoch=2).write(2, loss=0.5)
    assert [row["epoch"] for row in RunLog(tmp_path, quiet=True).rows()] == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_resumed_run_drops_the_rows_of_epochs_that_it_does_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for epoch in range(3):
        log.write(epoch, loss=float(epoch))
    assert [row["loss"] for row in RunLog(tmp_path, resume_epoch=1).rows()] == [0.0]
