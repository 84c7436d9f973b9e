"""`python -m bench.gpu`, which shows on a GPU what no test can without: here that it does not say so where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import onnxruntime
import pytest

from bench import gpu
from tests.model_repository import write_colour_model, write_word_model

ROOT = Path(__file__).parents[2]
HAS_GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers() and shutil.which("nvidia-smi") is not None


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bench.gpu", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1_200, env=environment)


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
def test_without_a_gpu_nothing_is_said_to_be_shown() -> None:
    done = bench()
    assert done.returncode == 2
    assert "NOTHING was shown" in done.stderr
    assert done.stdout == ""


def test_the_same_path_through_the_processor_agrees_and_is_not_called_a_gpu(tmp_path: Path) -> None:
    write_colour_model(tmp_path)
    write_word_model(tmp_path)
    done = bench("--provider", "cpu", "--models", str(tmp_path), "--batch", "5", "--seconds", "0.01", "--shapes", "12")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("On the processor: this shows that the path is right, and nothing of a GPU.\n")
    assert done.stdout.count("at most 0 of the tolerance away from the processor's, 5 batches to 5 rows") == 2
    assert done.stdout.count(": flat\n") == 2


def test_memory_is_that_of_this_process_where_nvidia_smi_tells_processes_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = f"548, 66\n{os.getpid()}, 2650\n{os.getpid() + 1}, 14444"
    (program := tmp_path / "nvidia-smi").write_text(f'#!/bin/sh\ncase "$2" in *apps*) echo "{told}";; *) echo 17160;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu._gpu_memory() == 2650 << 20


@pytest.mark.parametrize(("said", "read"), [("23642", 23642 << 20), ("[N/A]", None), ("[Insufficient Permissions]", None), ("", None)])
def test_memory_that_nvidia_smi_does_not_tell_is_not_called_flat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str, read: int | None
) -> None:
    (program := tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu._nvidia_smi() == said
    assert gpu._gpu_memory() == read
    monkeypatch.setattr(gpu, "_changing", lambda *arguments: [])
    assert gpu.memory_is_flat(None, Namespace(provider="cuda", shapes=4, batch=8)) is (read is not None)  # type: ignore[arg-type]
    assert (": flat\n" in capsys.readouterr().out) is (read is not None)


@pytest.mark.skipif(not HAS_GPU, reason="NOT SHOWN: there is no GPU here, or ONNX Runtime is not that of axon[gpu]")
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("options", [[], ["--precision", "tf32"], ["--precision", "fp16", "--batch", "8", "--only", "skin-lesion"]])
def test_the_gpu_is_right_for_every_model_that_ships(options: list[str]) -> None:
    done = bench("--seconds", "0.1", *options)
    assert done.returncode == 0, done.stdout + done.stderr
