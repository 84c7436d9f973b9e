"""`axon`: the process is put in order before anything large is imported, then the command runs."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """A signal may come, and a file be opened, while the libraries are imported."""
    _open_standard_streams()
    if sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGTERM, _end)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # not on Windows, and nohup's stays
            signal.signal(signal.SIGHUP, _pass_over)
    elif sys.argv[1:2] == ["models"] and hasattr(signal, "SIGPIPE"):  # not on Windows
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a list whose reader has seen enough, `axon models | head`, ends there
    from app.command_line import run

    run()


def _open_standard_streams() -> None:
    """Where one was closed, the next file or socket would get its number, and whatever is meant for the stream."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _end(number: int, frame: FrameType | None) -> None:
    """Nothing is served yet. The kernel spares process 1, which a container's server is, the signals that it handles not."""
    os._exit(0)


def _pass_over(number: int, frame: FrameType | None) -> None:
    """The folder has not been read yet. SIGHUP would end the process."""


if __name__ == "__main__":
    main()
