"""Downloads against a real HTTP server on this machine, one that can hang up half way."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pooch")

from training.kit.data import DataError, Source, download, extract, find

CONTENT = bytes(range(256)) * 20_000  # 5 MB
ZIPPED = gzip.compress(CONTENT)


class ArchiveServer(ThreadingHTTPServer):
    """Serves CONTENT, zipped to whoever takes that; hangs up after `hang_up_after` bytes of an answer, and ignores ranges where told to."""

    hang_up_after: int | None = None
    knows_ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    def source(self, checksum: str | None = None) -> Source:
        digest = checksum or f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
        return Source(f"http://127.0.0.1:{self.server_port}/reviews.tar.gz", "reviews.tar.gz", digest)


class Handler(BaseHTTPRequestHandler):
    server: ArchiveServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        zipped = "gzip" in self.headers.get("Accept-Encoding", "")
        content = ZIPPED if zipped else CONTENT  # a range is one of what is sent
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.knows_ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if zipped:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body[: self.server.hang_up_after])

    def log_message(self, *_: Any) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with ArchiveServer() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_file_arrives_whole_and_is_not_fetched_twice(server: ArchiveServer, tmp_path: Path) -> None:
    path = download(server.source(), tmp_path)
    assert path.read_bytes() == CONTENT
    assert download(server.source(), tmp_path) == path
    assert server.ranges == [None]


def test_a_download_that_broke_off_goes_on_where_it_stopped(server: ArchiveServer, tmp_path: Path) -> None:
    server.hang_up_after = 3_000_000
    with pytest.raises(DataError, match="run prepare again"):
        download(server.source(), tmp_path)
    received = (tmp_path / "reviews.tar.gz.partial").stat().st_size
    assert 0 < received <= 3_000_000

    server.hang_up_after = None
    assert download(server.source(), tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={received}-"
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.tar.gz"]


def test_a_server_that_knows_no_ranges_sends_the_file_again(server: ArchiveServer, tmp_path: Path) -> None:
    (tmp_path / "reviews.tar.gz.partial").write_bytes(CONTENT[:1000])
    server.knows_ranges = False
    assert download(server.source(), tmp_path).read_bytes() == CONTENT


def test_a_partial_file_that_is_whole_already_is_taken(server: ArchiveServer, tmp_path: Path) -> None:
    (tmp_path / "reviews.tar.gz.partial").write_bytes(CONTENT)
    assert download(server.source(), tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_leaves_nothing_behind(server: ArchiveServer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not have the checksum"):
        download(server.source("md5:" + "0" * 32), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_says_what_to_do(server: ArchiveServer, tmp_path: Path) -> None:
    gone = Source(f"http://127.0.0.1:{server.server_port + 1 if server.server_port < 65535 else 1}/x", "x", "md5:" + "0" * 32)
    with pytest.raises(DataError, match="could not be downloaded"):
        download(gone, tmp_path)


def test_tar_and_zip_are_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.xz", "w:xz") as tar:
        member = tarfile.TarInfo("folder/one.txt")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"one"))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        packed.writestr("folder/two.txt", "two")
    for name in ("a.tar.xz", "b.zip"):
        extract(tmp_path / name, tmp_path / "out")
    assert {path.name: path.read_text() for path in (tmp_path / "out" / "folder").iterdir()} == {"one.txt": "one", "two.txt": "two"}


def test_a_member_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../escaped.txt"))
    with pytest.raises(DataError, match="damaged or unsafe"):
        extract(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "escaped.txt").exists()


def test_a_truncated_archive_says_what_to_do(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("one.txt")
        member.size = len(CONTENT)
        tar.addfile(member, io.BytesIO(CONTENT))
    whole = (tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="run prepare again"):
        extract(tmp_path / "a.tar.gz", tmp_path / "out")


def test_find_takes_the_first_name_that_exists(tmp_path: Path) -> None:
    (tmp_path / "b.tar").touch()
    assert find(tmp_path, ["a", "b.tar"]) == tmp_path / "b.tar"
    assert find(tmp_path, ["a"]) is None
