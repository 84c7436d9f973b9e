"""HAM10000's usual layouts, written with synthetic lesions."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from training.kit.data import DataError
from training.kit.run import Run
from training.recipes.skin_lesion import synthetic
from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.data import Source, find_source, load

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


def files_at_the_root(root: Path) -> None:
    for path in (root / "HAM10000").iterdir():
        shutil.move(path, root / path.name)


def metadata_without_suffix(root: Path) -> None:
    (root / "HAM10000" / "HAM10000_metadata.csv").rename(root / "HAM10000" / "HAM10000_metadata")


def tar_file(root: Path) -> None:
    with tarfile.open(root / "ham10000_small.tar", "w") as archive:
        archive.add(root / "HAM10000", arcname="HAM10000")
    shutil.rmtree(root / "HAM10000")


def find(root: Path, directory: Path) -> Source:
    return find_source(Run("skin-lesion", "full", Config(), directory, data_root=root))


@pytest.mark.parametrize("arrange", [lambda root: None, two_folders, files_at_the_root, metadata_without_suffix, tar_file])
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
    with pytest.raises(DataError, match=r"1 of 15 images are missing, the first is SYNTHETIC_00003\.jpg"):
        find(one_folder, tmp_path)


def test_unknown_age_sex_and_site_are_kept_apart_from_known_ones(one_folder: Path, tmp_path: Path) -> None:
    metadata = one_folder / "HAM10000" / "HAM10000_metadata.csv"
    rows = metadata.read_text().splitlines()
    rows[1] = "SYNTHETIC_LESION_00000,SYNTHETIC_00000,akiec,synthetic,,,"
    metadata.write_text("\n".join(rows))
    record = find(one_folder, tmp_path).records[0]
    assert (record.age, record.sex, record.site) == (None, "unknown", "unknown")


def test_a_folder_without_the_data_set_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither HAM10000"):
        find(tmp_path, tmp_path)


def test_no_data_root_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data-root"):
        load(Run("skin-lesion", "full", Config(), tmp_path, data_root=None))
