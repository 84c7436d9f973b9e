"""Where weights come from, for a manifest: what the logs of the runs say of the commit, the versions and the machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.contract.manifest import DataSource, Provenance
from training.kit import origin
from training.kit.config import config_dict
from training.kit.run import Run
from training.kit.run_log import RunLog


def describe(
    run: Run[Any],
    data: tuple[DataSource, ...],
    trained_at: float,
    duration_s: float,
    directories: Sequence[Path] = (),
    config: dict[str, Any] | None = None,
    row: dict[str, Any] | None = None,
) -> Provenance:
    """`trained_at` is when training ended, in seconds since 1970; `duration_s` what it took on the clock.

    `directories` are those of the runs that trained the weights, where that is not this one alone. Commit and versions
    are those of their last epoch; logs of before 26 November 2026 name neither: the commit is then unknown, the versions are those of
    the export. `config` is what the weights were trained with, where the run's own is not that, and `row` tells commit, versions and
    hardware as a log's row does, where the folder's logs are not of these weights alone.
    """
    directories = directories or (run.directory,)
    latest = row or max(map(last_row, directories), key=_time)
    return Provenance(
        recipe=run.recipe,
        preset=run.preset,
        commit=latest.get("commit", "unknown"),
        config=config or config_dict(run.config),
        data=data,
        trained_at=datetime.fromtimestamp(int(trained_at), UTC),
        versions=latest.get("versions") or origin.versions(),
        hardware=row["hardware"] if row else "; ".join(dict.fromkeys(trained_on(directory) for directory in directories)),
        duration_s=round(duration_s, 1),
    )


def trained_on(directory: Path) -> str:
    """The hardware of the last epoch in the run's logs; `unknown` where they do not say, until someone writes into them what they know."""
    return str(last_row(directory).get("hardware", "unknown"))


def last_row(directory: Path) -> dict[str, Any]:
    """The latest of all logs in a run's folder, whatever the stage; empty where there is none."""
    rows = [row for path in directory.rglob("log.jsonl") for row in RunLog(path.parent, quiet=True).rows()]
    return max(rows, key=_time, default={})


def _time(row: dict[str, Any]) -> float:
    return float(row.get("time", 0))
