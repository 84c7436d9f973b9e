"""Devices and processes: one line gives the same loop on a CPU, on a GPU, or in every process that `torchrun` started."""

from __future__ import annotations

import os
from typing import Literal

import torch
from lightning_fabric import Fabric

from training.kit.config import ConfigError


def launch_fabric(threads: int = 0, precision: Literal["32-true", "bf16-mixed"] = "32-true") -> Fabric:
    """A launched Fabric. Under `torchrun` each of its processes joins; `threads` > 0 bounds a process's CPU threads.

    `bf16-mixed` keeps weights in float32 and multiplies in bfloat16: twice as fast on a GPU, and on a CPU that has AVX512-BF16.
    """
    if threads > 0:
        torch.set_num_threads(threads)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun, as is WORLD_SIZE
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // local
    distributed = local * nodes > 1
    fabric = Fabric(accelerator="auto", devices=local, num_nodes=nodes, strategy="ddp" if distributed else "auto", precision=precision)
    fabric.launch()
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes stay the same for a whole epoch
        torch.set_float32_matmul_precision("high")  # TF32 where a product is not in bfloat16
    return fabric


def refuse_uneven(fabric: Fabric, **settings: int) -> None:
    """Raises ConfigError where a batch does not give each process as much: their mean would not be the batch's."""
    for name, count in settings.items():
        if count % fabric.world_size:
            raise ConfigError(f"{name}={count} cannot be shared evenly by {fabric.world_size} processes: set a multiple of that")
