"""A run's log: one JSON line an epoch, a line on the terminal, and loss curves that anyone can look at."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from training.kit import origin


class RunLog:
    """Appends rows to `log.jsonl`. A resumed run drops the rows of the epochs that it does again. Who only reads is `quiet`."""

    def __init__(self, directory: Path, recipe: str = "", resume_epoch: int = 0, quiet: bool = False) -> None:
        self.path = directory / "log.jsonl"
        self.quiet = quiet
        directory.mkdir(parents=True, exist_ok=True)
        if not quiet:
            self.origin = {"versions": origin.versions(), "commit": origin.commit(recipe)}
            kept = [row for row in self.rows() if row["epoch"] < resume_epoch]
            partial = self.path.with_suffix(".partial")
            partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
            partial.replace(self.path)

    def rows(self) -> list[dict[str, Any]]:
        """All rows, but for a last one that a kill cut."""
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        if lines and not _is_whole(lines[-1]):
            lines.pop()
        return [json.loads(line) for line in lines]

    def write(self, epoch: int, **values: float) -> None:
        """Record one finished epoch. Only the main process of a distributed run writes (`quiet` elsewhere)."""
        if self.quiet:
            return
        row = {"epoch": epoch, "time": round(time.time(), 1), "hardware": origin.hardware(), **self.origin, **values}
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


def _is_whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False
