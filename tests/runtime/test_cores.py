"""How many processors there are, by the files of the control group."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.runtime.cores import available_cores

CPUSET = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [("100000 100000", 1), ("50000 100000", 1), ("1000 100000", 1), ("150000 100000", 2), ("max 100000", CPUSET), ("", CPUSET)],
)
def test_the_quota_of_cgroup_v2(tmp_path: Path, cpu_max: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max)
    assert available_cores(tmp_path) == min(cores, CPUSET)


@pytest.mark.parametrize(("quota", "cores"), [("100000", 1), ("50000", 1), ("200000", 2), ("-1", CPUSET), ("rubbish", CPUSET)])
def test_the_quota_of_cgroup_v1(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert available_cores(tmp_path) == min(cores, CPUSET)


def test_without_a_quota_the_cpuset_counts(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == CPUSET


def test_a_quota_never_gives_more_than_the_cpuset(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("6400000 100000")
    assert available_cores(tmp_path) == CPUSET


def test_a_narrowed_cpuset_counts(tmp_path: Path) -> None:
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everything)})
    try:
        assert available_cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, everything)
