"""What the operator allows, as the runtime sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.contract.images import MAX_PIXELS
from app.runtime.device import CPU_PROVIDER, Device

MAX_TEXT_CHARS = 50_000
MAX_TEXTS = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed of items, where only the pipeline can measure it."""

    max_image_pixels: int = MAX_PIXELS
    max_text_chars: int = MAX_TEXT_CHARS
    max_texts: int = MAX_TEXTS  # in one request


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How many sequences a generating model runs at once, and how many may wait for that."""

    max_live_sequences: int = 64
    max_waiting_sequences: int = 256
    prefill_chunk_tokens: int = 64


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How sessions are made and batched: shared by all models."""

    device: Device
    cores: int
    max_queue_size: int  # rows that may wait, a model
    max_queue_bytes: int  # that they, and what they are made of, may hold
    stuck_run_timeout_s: float
    load_timeout_s: float
    limits: Limits = field(default_factory=Limits)
    generation: GenerationOptions = field(default_factory=GenerationOptions)

    def instances(self, provider: str) -> int:
        """Runs of one model at once: on the processor one single-threaded run a core, on a GPU one, and the batch does the work."""
        return self.cores if provider == CPU_PROVIDER else 1

    def rows(self, provider: str, max_batch_size: int) -> int:
        """The most rows of a run, of a model whose manifest says `max_batch_size`."""
        return max_batch_size if provider == CPU_PROVIDER else self.device.rows(max_batch_size)
