"""Where a recipe's data comes from: a folder that you name, or the official source."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import requests
from pooch.downloaders import doi_to_repository
from tqdm import tqdm

from app.errors import ServingError

BLOCK_BYTES = 1024 * 1024
TIMEOUT_S = 60

pooch.get_logger().setLevel(logging.WARNING)


class DataError(Exception):
    """Data that is missing or not what it should be; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """A file at its official place."""

    url: str  # https://..., or doi:10.7910/DVN/.../NAME for a file of a repository that pooch can resolve
    file: str  # its name in the data folder
    checksum: str  # "md5:..." or "sha256:...", as the source publishes it


def refuse_other_settings(folder: Path, prepared: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises DataError where a run's folder was prepared with other settings than the run has now."""
    for name, value in prepared.items():
        if value != wanted[name]:
            raise DataError(f"{folder} was prepared with {name}={value}, not {wanted[name]}: give --run another folder, or remove this one")


@contextlib.contextmanager
def naming(file: object) -> Iterator[None]:
    """Around the decoding of a picture: one that is none ends in a DataError that names it, not in the words for a client."""
    try:
        yield
    except ServingError as error:
        raise DataError(f"{file}: {error}; repair the picture, or take it away") from error


def find(root: Path, names: Iterable[str]) -> Path | None:
    """The first of `names` that exists under `root`: an extracted folder, or an archive by any of its names."""
    return next((path for name in names if (path := root / name).exists()), None)


def download(source: Source, folder: Path) -> Path:
    """The source's file in `folder`, downloaded unless it is there and whole.

    A download that was interrupted leaves `NAME.partial` and goes on from there. Raises DataError if the source
    cannot be reached or the checksum is not the source's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{source.file}.partial"
    if not (folder / source.file).exists():
        print(f"{source.file} is not there: downloading it into {folder}", flush=True)
    try:
        path = pooch.retrieve(source.url, source.checksum, source.file, folder, downloader=ResumingDownloader(partial))
    except requests.RequestException as error:
        raise DataError(f"{source.file} could not be downloaded ({type(error).__name__}): run prepare again to go on") from error
    except ValueError as error:
        raise DataError(f"{source.file} from {source.url} does not have the checksum {source.checksum}: try again later") from error
    return Path(path)


class ResumingDownloader:
    """What pooch calls to fetch a file: keeps what came before an interruption, and asks the server for the rest only."""

    def __init__(self, partial: Path) -> None:
        self.partial = partial

    def __call__(self, url: str, output_file: str, mapping: Any) -> None:
        """Download into `partial`, then move it to `output_file`, whose checksum pooch verifies."""
        have = self.partial.stat().st_size if self.partial.is_file() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})  # bytes of the file, not of its gzip
        with requests.get(_address(url), headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            if response.status_code != requests.codes.requested_range_not_satisfiable:  # else it was whole already
                response.raise_for_status()
                self._receive(response, have if response.status_code == requests.codes.partial_content else 0)
        shutil.move(self.partial, output_file)

    def _receive(self, response: requests.Response, have: int) -> None:
        total = int(response.headers.get("Content-Length", 0)) + have
        progress = tqdm(total=total or None, initial=have, unit="B", unit_scale=True, desc=self.partial.stem, mininterval=1)
        with self.partial.open("ab" if have else "wb") as file, progress:
            for block in response.iter_content(BLOCK_BYTES):
                file.write(block)
                file.flush()
                progress.update(len(block))
        received = self.partial.stat().st_size
        if total and received < total:
            raise requests.ConnectionError(f"{received} of {total} bytes came")


def extract(archive: Path, folder: Path) -> Path:
    """Unpack a tar or zip archive; a member that points outside of `folder` is refused. Raises DataError."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                for member in tqdm(packed.infolist(), archive.name, unit="file", mininterval=1):
                    packed.extract(member, folder)
        else:
            with tarfile.open(archive) as packed_tar:
                packed_tar.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(f"{archive} is damaged or unsafe ({error}): remove it and run prepare again") from error
    return folder


def _address(url: str) -> str:
    """The file's own address; a DOI is resolved through the repository that holds it."""
    if not url.startswith("doi:"):
        return url
    doi, _, name = url.removeprefix("doi:").rpartition("/")
    return str(doi_to_repository(doi).download_url(name))
