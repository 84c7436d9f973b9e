"""Processes that train: one that is killed, and two that share a run as under `torchrun`.

They are forked from one that has imported PyTorch and the rest once, which takes longer than any of these runs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.optim.optimizer import register_optimizer_step_post_hook

import training.__main__ as axon_train

START_METHOD = "forkserver"
FORKS = multiprocessing.get_context(START_METHOD)
FORKS.set_forkserver_preload(["training.kit.processes", "torch._dynamo", "sklearn.linear_model"])


def kill_once_written(file: Path, arguments: list[str]) -> None:
    """`axon-train` with these arguments, killed (SIGKILL) at the first step that it takes after it wrote the file."""
    process = FORKS.Process(target=_train_until_written, args=(file, arguments))
    process.start()
    process.join(200)
    process.kill()
    assert file.exists()
    assert process.exitcode == -signal.SIGKILL


def _train_until_written(file: Path, arguments: list[str]) -> None:
    register_optimizer_step_post_hook(lambda *_: os.kill(os.getpid(), signal.SIGKILL) if file.exists() else None)
    _axon_train(arguments)


def run_in_two_processes(arguments: list[str], logs: Path) -> None:
    """`axon-train` with these arguments, by the launcher that is behind `torchrun --standalone --nproc-per-node 2`."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id=str(time.monotonic_ns()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method=START_METHOD,
        logs_specs=DefaultLogsSpecs(log_dir=str(logs)),
        max_restarts=0,
    )
    elastic_launch(config, _axon_train)(arguments)


def _axon_train(arguments: list[str]) -> None:
    sys.argv = ["axon-train", *arguments]
    axon_train.main()
