"""`python -m bench.gpu`: does a GPU answer as the processor does, how many rows a second does it give, and is its memory flat?

Exit status 0 means that all of it was shown for every model; 1 that something is wrong; 2 that there is no such device, so
that nothing was shown. `--provider cpu` takes the same path through the processor: it tries this program out, and proves no GPU.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from app import tasks
from app.contract.images import PhotographProcessor
from app.contract.manifest import ModelManifest, load_manifest
from app.errors import ModelRejected
from app.runtime.device import Device, Precision, Provider
from app.runtime.device_session import DeviceSession
from app.runtime.golden import try_out
from app.runtime.pipeline import Pipeline
from app.runtime.session import OrtSession, is_built_in
from app.runtime.sessions import open_session, progress
from app.runtime.shapes import has_fixed_rows, input_bounds
from bench.__main__ import newest

Tensors = dict[str, NDArray[Any]]

NO_DEVICE = 2
UNEVEN = (3, 5, 13, 33)  # batches beside 1, 2, 4, ...
SIDES = (16, 512)  # of the pictures while memory is watched
TOKENS = (1, 64)  # of the texts, where the manifest has no bound
GROWTH = 0.05  # of the memory at half time, and SLACK beside it
SLACK = 32 << 20


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, on the device and on the processor."""

    manifest: ModelManifest
    pipeline: Pipeline
    golden: Tensors  # its golden request, one row
    session: OrtSession
    plain: OrtSession

    def batch(self, rows: int) -> Tensors:
        """So many rows that differ: the golden one, its numbers turned round by a few places each."""
        return {name: np.stack([_turned(tensor[0], index) for index in range(rows)]) for name, tensor in self.golden.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="model repository")
    parser.add_argument("--only", nargs="+", help="names of models; by default all")
    parser.add_argument("--provider", choices=get_args(Provider), default="cuda")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32")
    parser.add_argument("--tensorrt-cache", type=Path)
    parser.add_argument("--cpu-models", nargs="*", default=["anna", "shakespeare"], help="that are served by the processor, and left out")
    parser.add_argument("--batch", type=int, default=64, help="the largest one")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--shapes", type=int, default=300, help="runs of changing shapes while memory is watched")
    arguments = parser.parse_args()
    if not is_built_in(Device(arguments.provider).requested_provider) or (arguments.provider != "cpu" and _nvidia_smi() is None):
        print("bench.gpu: there is no GPU here, or ONNX Runtime is not that of axon[gpu]: NOTHING was shown", file=sys.stderr)
        sys.exit(NO_DEVICE)
    if arguments.provider == "cpu":
        print("On the processor: this shows that the path is right, and nothing of a GPU.")
    names = arguments.only or sorted(folder.name for folder in arguments.models.iterdir() if folder.is_dir())
    wrong = [name for name in names if name not in _left_out(arguments) and not prove(arguments, newest(arguments.models / name))]
    print(f"\n{'NOT shown for: ' + ', '.join(wrong) if wrong else 'shown for every model that was asked for'}")
    sys.exit(1 if wrong else 0)


def prove(arguments: argparse.Namespace, directory: Path) -> bool:
    """All three of one model, printed as they come."""
    print(f"\n{directory.parent.name}/{directory.name}, {arguments.provider}, {arguments.precision}")
    try:
        subject = opened(arguments, directory)
    except ModelRejected as error:
        print(f"  refused: {error}")
        return False
    sizes = sorted({*(1 << power for power in range(arguments.batch.bit_length())), arguments.batch})
    is_right = answers_agree(subject, sorted({*sizes, *(rows for rows in UNEVEN if rows <= arguments.batch)}))
    throughput(subject, sizes, arguments.seconds)
    return memory_is_flat(subject, arguments) and is_right


def opened(arguments: argparse.Namespace, directory: Path) -> Subject:
    """Raises ModelRejected; a device that does not take the model is one reason."""
    manifest = load_manifest(directory)
    pipeline = {task.Pipeline.task: task.Pipeline for task in tasks.discover()}[manifest.task].load(manifest, directory)
    device = Device(
        arguments.provider,
        strict=True,
        precision=arguments.precision,
        batch_size=arguments.batch,
        engine_cache=arguments.tensorrt_cache,
    )
    if manifest.golden is None:
        raise ModelRejected("it has no golden request to make batches of")
    request = directory / manifest.golden.request
    item = request.read_text(encoding="utf-8") if request.suffix == ".txt" else request.read_bytes()
    golden = pipeline.collate(pipeline.preprocess(item, pipeline.default_options())[:1])
    with progress(f"loading {manifest.name}"):
        session = _session(manifest, directory, device)
        try_out(manifest, directory, pipeline, session)
    return Subject(manifest, pipeline, golden, session, OrtSession(directory / manifest.graphs["model"].file))


def answers_agree(subject: Subject, sizes: list[int]) -> bool:
    """The largest difference from the processor's answers over all these batches, against the tolerance."""
    assert subject.manifest.golden is not None
    worst = 0.0  # in tolerances
    for rows in sizes:
        tensors = subject.batch(rows)
        expected, answered = subject.plain.run(tensors), subject.session.run(tensors)
        for name, value in expected.items():
            largest = float(np.abs(value).max(initial=0))
            difference = float(np.abs(answered[name].astype(np.float64) - value).max(initial=0))
            tolerance = subject.manifest.golden.atol + subject.session.rtol * largest
            worst = max(worst, difference / tolerance) if np.isfinite(difference) else float("inf")
    print(f"  answers: at most {worst:.2g} of the tolerance away from the processor's, {len(sizes)} batches to {max(sizes)} rows")
    return worst <= 1


def throughput(subject: Subject, sizes: list[int], seconds: float) -> None:
    """Of a model whose runs have a fixed number of rows: with that number, as AXON_GPU_BATCH_SIZE would set it."""
    print("  rows    rows/s    ms a run")
    for rows in sizes:
        if isinstance(subject.session, DeviceSession) and subject.session.rows is not None:
            subject.session.rows = rows
        tensors = subject.batch(rows)
        subject.session.run(tensors)
        runs, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds or not runs:
            subject.session.run(tensors)
            runs += 1
        print(f"  {rows:4}{runs * rows / elapsed:10.1f}{elapsed / runs * 1000:12.2f}", flush=True)


def memory_is_flat(subject: Subject, arguments: argparse.Namespace) -> bool:
    """Runs of shapes that change: the second half may not need more than the first."""
    used = [_memory(arguments.provider)]
    for index, tensors in enumerate(_changing(subject, arguments.shapes, min(8, arguments.batch)), 1):
        subject.session.run(tensors)
        if index % max(1, arguments.shapes // 4) == 0:
            used.append(_memory(arguments.provider))
    known = [value for value in used if value is not None]
    if len(known) < len(used):
        print("  memory: nvidia-smi does not tell it, so that is not shown")
        return False
    is_flat = known[-1] <= known[len(known) // 2] * (1 + GROWTH) + SLACK
    shown = ", ".join(f"{value >> 20}" for value in known)
    print(f"  memory over {arguments.shapes} runs of changing shapes, MB: {shown}: {'flat' if is_flat else 'GROWS'}")
    return is_flat


def _left_out(arguments: argparse.Namespace) -> list[str]:
    return [] if arguments.only or arguments.provider == "cpu" else list(arguments.cpu_models)


def _session(manifest: ModelManifest, directory: Path, device: Device) -> OrtSession:
    if device.is_gpu:
        return open_session(manifest, directory, device)
    spec = manifest.graphs["model"]
    shrinks = isinstance(manifest.processor, PhotographProcessor)
    rows = device.batch_size if has_fixed_rows(spec) else None
    return DeviceSession(directory / spec.file, device, memory="cpu", rows=rows, shrinks=shrinks)


def _turned(row: NDArray[Any], places: int) -> NDArray[Any]:
    return np.roll(row, 3 * places, axis=-1) if row.ndim and np.issubdtype(row.dtype, np.integer) else row


def _changing(subject: Subject, runs: int, most_rows: int) -> Iterator[Tensors]:
    """Inputs of random shapes within what the server lets in, made of the golden request's numbers."""
    random = np.random.default_rng(0)
    bounds = input_bounds(subject.manifest, most_rows) or {}
    for index in range(runs):
        largest = index == 0  # first, so that what comes then has no need of more
        rows = most_rows if largest else int(random.integers(1, most_rows + 1))
        tokens = TOKENS[1] if largest else int(random.integers(TOKENS[0], TOKENS[1] + 1))
        tensors: Tensors = {}
        for name, golden in subject.golden.items():
            shape = [rows, *golden.shape[1:]]
            if golden.ndim == 4:
                shape[2:] = [_side(random, low, high, largest) for low, high in bounds[name][2:]]
            elif golden.ndim == 2 and golden.dtype == np.int64:
                shape[1] = tokens
            if golden.ndim == 1:
                tensors[name] = np.full(rows, tokens)
            elif list(golden.shape[1:]) == shape[1:]:
                tensors[name] = np.repeat(golden, rows, axis=0)
            else:
                tensors[name] = random.choice(golden.ravel(), shape)
        yield tensors


def _side(random: np.random.Generator, low: int, high: int, largest: bool) -> int:
    low, high = (low, high) if low == high else (max(low, SIDES[0]), min(high, SIDES[1]))
    return high if largest else int(random.integers(low, high + 1))


def _memory(provider: str) -> int | None:
    """Bytes that are taken: of the GPU, or by this process."""
    if provider != "cpu":
        return _gpu_memory()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _gpu_memory() -> int | None:
    """What this process holds of the first GPU that is visible; where processes are not told apart, what all of them do.

    None if neither is told, as of a part of a GPU (MIG).
    """
    rows = [row.partition(", ") for row in (_nvidia_smi("--query-compute-apps=pid,used_memory") or "").splitlines()]
    own = [mebibytes for pid, _, mebibytes in rows if pid == str(os.getpid())]
    mebibytes = own[0] if own and own[0].isdecimal() else _nvidia_smi() or ""
    return int(mebibytes) << 20 if mebibytes.isdecimal() else None


def _nvidia_smi(query: str = "--query-gpu=memory.used") -> str | None:
    """What it says of the memory in use, "[N/A]" among others; None without a GPU."""
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    command = ["nvidia-smi", f"--id={device}", query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


if __name__ == "__main__":
    main()
