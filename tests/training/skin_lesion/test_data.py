"""HAM10000's usual layouts, written with synthetic lesions."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.training.tiny_runs import MakeRun
from training.kit.data import DataError, Source
from training.kit.run import Run
from training.recipes.skin_lesion import data, synthetic
from training.recipes.skin_lesion.archive import Archive, fetch, find_archive
from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.data import load

IMAGES = 15  # of ten lesions


@pytest.fixture
def one_folder(tmp_path: Path) -> Path:
    """HAM10000_metadata.csv beside images/."""
    synthetic.draw(tmp_path / "data" / "HAM10000", lesions=10, seed=0)
    return tmp_path / "data"


def two_folders(root: Path) -> None:
    home = root / "HAM10000"
    for i, image in enumerate(sorted((home / "images").glob("*.jpg"))):
        part = home / f"HAM10000_images_part_{1 + i % 2}"
        part.mkdir(exist_ok=True)
        shutil.move(image, part / image.name)
    (home / "images").rmdir()


def two_zips(root: Path) -> None:
    """As they are downloaded by hand."""
    two_folders(root)
    for part in sorted((root / "HAM10000").glob("HAM10000_images_part_*")):
        shutil.make_archive(str(part), "zip", part)
        shutil.rmtree(part)


def two_zips_at_the_root(root: Path) -> None:
    two_zips(root)
    files_at_the_root(root)


def one_zip_of_two(root: Path) -> None:
    """Somebody has unpacked the other one."""
    two_zips(root)
    shutil.unpack_archive(root / "HAM10000" / "HAM10000_images_part_1.zip", root / "HAM10000" / "images")


def files_at_the_root(root: Path) -> None:
    for path in (root / "HAM10000").iterdir():
        shutil.move(path, root / path.name)


def metadata_without_suffix(root: Path) -> None:
    (root / "HAM10000" / "HAM10000_metadata.csv").rename(root / "HAM10000" / "HAM10000_metadata")


def tar_file(root: Path) -> None:
    with tarfile.open(root / "ham10000_small.tar", "w") as archive:
        archive.add(root / "HAM10000", arcname="HAM10000")
    shutil.rmtree(root / "HAM10000")


def find(root: Path, directory: Path) -> Archive:
    return find_archive(Run("skin-lesion", "full", Config(), directory, data_root=root))


@pytest.mark.parametrize(
    "arrange",
    [lambda root: None, two_folders, two_zips, two_zips_at_the_root, one_zip_of_two, files_at_the_root, metadata_without_suffix, tar_file],
)
def test_every_layout_gives_the_same_records_and_bytes(one_folder: Path, tmp_path: Path, arrange: Callable[[Path], None]) -> None:
    before = find(one_folder, tmp_path)
    expected = {record.image_id: before.read(record.image_id) for record in before.records}
    arrange(one_folder)
    found = find(one_folder, tmp_path)
    assert found.records == before.records
    assert len(found.records) == IMAGES
    assert {record.image_id: found.read(record.image_id) for record in found.records} == expected


def test_a_missing_image_is_named(one_folder: Path, tmp_path: Path) -> None:
    (one_folder / "HAM10000" / "images" / "SYNTHETIC_00003.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 15 images are missing, the first is SYNTHETIC_00003\.jpg: put HAM10000_images_part_1\.zip"):
        find(one_folder, tmp_path)


def test_a_folder_that_holds_a_part_of_its_zip_is_named(one_folder: Path, tmp_path: Path) -> None:
    two_zips(one_folder)
    find(one_folder, tmp_path)
    part = one_folder / "HAM10000" / "HAM10000_images_part_2"
    next(part.glob("*.jpg")).unlink()
    with pytest.raises(DataError, match="holds only a part of HAM10000_images_part_2"):
        find(one_folder, tmp_path)


def test_unknown_age_sex_and_site_are_kept_apart_from_known_ones(one_folder: Path, tmp_path: Path) -> None:
    metadata = one_folder / "HAM10000" / "HAM10000_metadata.csv"
    rows = metadata.read_text().splitlines()
    rows[1] = "SYNTHETIC_LESION_00000,SYNTHETIC_00000,akiec,synthetic,,,"
    metadata.write_text("\n".join(rows))
    record = find(one_folder, tmp_path).records[0]
    assert (record.age, record.sex, record.site) == (None, "unknown", "unknown")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Silence."""


@pytest.fixture
def served_folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which its files can be downloaded."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_downloaded_data_set_is_read_like_one_that_was_there(one_folder: Path, tmp_path: Path, served_folder: tuple[Path, str]) -> None:
    folder, address = served_folder
    home = one_folder / "HAM10000"
    shutil.copy(home / "HAM10000_metadata.csv", folder)
    shutil.make_archive(str(folder / "HAM10000_images_part_1"), "zip", home / "images")
    metadata, images = (
        Source(f"{address}/{name}", name, f"md5:{hashlib.md5((folder / name).read_bytes()).hexdigest()}")
        for name in ("HAM10000_metadata.csv", "HAM10000_images_part_1.zip")
    )
    fetch(tmp_path / "new" / "HAM10000", metadata, (images,))
    assert find(tmp_path / "new", tmp_path).records == find(one_folder, tmp_path).records
    assert not list(tmp_path.rglob("*.partial"))


def test_metadata_with_tabs_reads_the_same(one_folder: Path, tmp_path: Path) -> None:
    expected = find(one_folder, tmp_path).records
    metadata = one_folder / "HAM10000" / "HAM10000_metadata.csv"
    metadata.with_suffix(".tab").write_text(metadata.read_text().replace(",", "\t"))
    metadata.unlink()
    assert find(one_folder, tmp_path).records == expected


def test_what_an_interrupted_preparation_leaves_is_not_taken_for_whole(
    one_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [Run("skin-lesion", "full", Config(image_size=size), tmp_path / "run", data_root=one_folder) for size in (16, 24)]
    load(sizes[0])
    whole = find_archive(sizes[1])

    def read_half(image_id: str) -> bytes:
        if image_id == whole.records[IMAGES // 2].image_id:
            raise KeyboardInterrupt
        return whole.read(image_id)

    with monkeypatch.context() as patched:
        patched.setattr(data, "find_archive", lambda run: dataclasses.replace(whole, read=read_half))
        with pytest.raises(KeyboardInterrupt):
            load(sizes[1])
    assert load(sizes[1]).pixels[24].reshape(IMAGES, -1).any(1).all()


def test_no_data_root_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data-root"):
        load(Run("skin-lesion", "full", Config(), tmp_path, data_root=None))


def test_data_of_other_settings_is_neither_taken_nor_made_anew(make_run: MakeRun, tmp_path: Path) -> None:
    data.prepare(make_run(tmp_path, "synthetic_lesions=10"))
    before = (tmp_path / "run" / "prepared" / "records.json").read_bytes()
    for step in (data.prepare, load):
        with pytest.raises(DataError, match="prepared with synthetic_lesions=10, not 12: give --run another folder"):
            step(make_run(tmp_path, "synthetic_lesions=12"))
    assert (tmp_path / "run" / "prepared" / "records.json").read_bytes() == before


def test_synthetic_lesions_are_drawn_wherever_the_data_sets_are(make_run: MakeRun, tmp_path: Path) -> None:
    run = dataclasses.replace(make_run(tmp_path, "synthetic_lesions=10"), data_root=tmp_path / "data")
    assert load(run).source["name"].startswith("synthetic")
    assert not (tmp_path / "data").exists()
