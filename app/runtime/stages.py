"""Decoding is a part of preprocessing that only the pipeline knows: here it says so, and the time is kept apart."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Clock(threading.local):
    """Of one thread: an item is preprocessed in one from beginning to end."""

    decoding_s = 0.0


_clock = _Clock()


@contextmanager
def decoding() -> Iterator[None]:
    """What is done here is decoding: a file's bytes become pixels."""
    started = time.monotonic()
    try:
        yield
    finally:
        _clock.decoding_s += time.monotonic() - started


def take_decoding_s() -> float:
    """The seconds that this thread has decoded since this was last called."""
    seconds, _clock.decoding_s = _clock.decoding_s, 0.0
    return seconds
