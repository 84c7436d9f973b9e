"""A run's log: one JSON line an epoch, a line on the terminal, and loss curves that anyone can look at."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch


class RunLog:
    """Appends rows to `log.jsonl`. A resumed run drops the rows of the epochs that it does again."""

    def __init__(self, directory: Path, resume_epoch: int = 0, quiet: bool = False) -> None:
        self.path = directory / "log.jsonl"
        self.quiet = quiet
        directory.mkdir(parents=True, exist_ok=True)
        if not quiet:
            kept = [row for row in self.rows() if row["epoch"] < resume_epoch]
            self.path.write_text("".join(json.dumps(row) + "\n" for row in kept))

    def rows(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def write(self, epoch: int, **values: float) -> None:
        """Record one finished epoch. Only the main process of a distributed run writes (`quiet` elsewhere)."""
        if self.quiet:
            return
        row = {"epoch": epoch, "time": round(time.time(), 1), "hardware": hardware(), **values}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"epoch {epoch}: " + "  ".join(f"{key} {value:.4f}" for key, value in values.items()), flush=True)

    def plot(self, path: Path, keys: list[str], ylabel: str = "loss") -> None:
        """Draw the named values over the epochs into an image file."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
        rows = self.rows()
        for key in keys:
            points = [(row["epoch"], row[key]) for row in rows if key in row]
            axes.plot([x for x, _ in points], [y for _, y in points], marker=".", label=key)
        axes.set(xlabel="epoch", ylabel=ylabel)
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(path, dpi=120)
        pyplot.close(figure)


def hardware() -> str:
    """`AMD EPYC, 1 thread of 2 cores`, or the GPU's name where there is one."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''} of {os.cpu_count()} cores"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
