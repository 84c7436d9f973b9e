"""What a process has open, as Linux tells: looked at again and again while it runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TABLES = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6")
LISTENING = "0A"  # of TCP's states
PAUSE_S = 0.0005


@dataclass(frozen=True)
class InternetSocket:
    """A row of /proc/net: which end is where."""

    protocol: str
    local_port: int
    remote_port: int  # 0: it is connected to nobody
    listens: bool


@dataclass
class Seen:
    """Everything that was open at one time or another."""

    sockets: set[InternetSocket] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    looks: int = 0


@contextmanager
def watched(pid: int) -> Iterator[Seen]:
    seen, stop = Seen(), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            look(pid, seen)
            time.sleep(PAUSE_S)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def look(pid: int, seen: Seen) -> None:
    targets = list(_targets(pid))
    inodes = {target[8:-1] for target in targets if target.startswith("socket:[")}
    seen.files.update(target for target in targets if target.startswith("/"))
    seen.looks += 1
    if inodes:
        seen.sockets.update(socket for inode, socket in _rows(pid) if inode in inodes)


def _targets(pid: int) -> Iterator[str]:
    try:
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            try:
                yield str(Path(descriptor).readlink())
            except OSError:  # closed since
                continue
    except OSError:  # the process is gone
        return


def _rows(pid: int) -> Iterator[tuple[str, InternetSocket]]:
    for protocol in TABLES:
        try:
            lines = Path(f"/proc/{pid}/net/{protocol}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            local, remote = (int(end.rpartition(":")[2], 16) for end in fields[1:3])
            yield fields[9], InternetSocket(protocol, local, remote, protocol.startswith("tcp") and fields[3] == LISTENING)
