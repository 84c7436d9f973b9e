"""Where pictures come from, which are left out, and which are held out."""

from __future__ import annotations

import json
import shutil
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.contract.files import sha256
from tests.training.cyclegan.conftest import MakeRun
from tests.training.tiny_runs import copy_of
from training.kit.config import ConfigError
from training.kit.data import DataError, Source, extract
from training.kit.run import Run
from training.recipes.cyclegan import archive, synthetic, train
from training.recipes.cyclegan.archive import find_heaps, horse2zebra
from training.recipes.cyclegan.config import Config, NetConfig
from training.recipes.cyclegan.data import draw_batch, load, prepare, without_twins


@pytest.fixture
def two_folders(tmp_path: Path) -> tuple[Path, Path]:
    return synthetic.draw(tmp_path / "pictures", 12, seed=0)


def own_run(folders: tuple[Path, Path], directory: Path, **settings: object) -> Run[Config]:
    config = Config(domain_a=str(folders[0]), domain_b=str(folders[1]), stored_size=36, crop_size=32, **settings)  # type: ignore[arg-type]
    return Run("cyclegan", "own", config, directory, data_root=None)


def test_a_tar_file_and_its_folder_give_the_same_pictures(two_folders: tuple[Path, Path], tmp_path: Path) -> None:
    packed, unpacked = tmp_path / "packed", tmp_path / "unpacked"
    packed.mkdir()
    for folder, side in zip(two_folders, ("trainA", "trainB"), strict=True):
        (unpacked / "horse2zebra" / side).mkdir(parents=True)
        for file in folder.iterdir():
            (unpacked / "horse2zebra" / side / file.name).write_bytes(file.read_bytes())
    with tarfile.open(packed / "horse2zebra.tar", "w") as archive:
        archive.add(unpacked / "horse2zebra", arcname="horse2zebra")
    found = [find_heaps(Run("cyclegan", "cpu", Config(), tmp_path, data_root=root)) for root in (packed, unpacked)]
    for from_tar, from_folder in zip(*found, strict=True):
        assert from_tar.names == from_folder.names
        assert [from_tar.read(name) for name in from_tar.names] == [from_folder.read(name) for name in from_folder.names]
    assert len(found[0][0].names) == 12


def test_any_two_folders_make_a_run(two_folders: tuple[Path, Path], tmp_path: Path) -> None:
    domains = load(own_run(two_folders, tmp_path / "run"))
    assert domains.a.pixels.shape == domains.b.pixels.shape == (12, 3, 36, 36)
    assert [domains.a.source["name"], domains.b.source["name"]] == ["plain", "striped"]


def test_one_folder_alone_is_refused(two_folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--domain-a and --domain-b"):
        load(Run("cyclegan", "own", Config(domain_a=str(two_folders[0])), tmp_path / "run", data_root=None))


def test_an_empty_folder_is_refused_by_its_name(two_folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="nothing holds 0 pictures"):
        load(own_run((two_folders[0], tmp_path / "nothing"), tmp_path / "run"))


def test_no_data_root_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data-root"):
        load(Run("cyclegan", "cpu", Config(), tmp_path, data_root=None))


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Silence."""


def test_a_downloaded_data_set_is_read_like_one_that_was_there(two_folders: tuple[Path, Path], tmp_path: Path) -> None:
    layout = tmp_path / "layout" / "horse2zebra"
    for folder, side in zip(two_folders, ("trainA", "trainB"), strict=True):
        shutil.copytree(folder, layout / side)
    packed = Path(shutil.make_archive(str(tmp_path / "served" / "horse2zebra"), "zip", layout.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(packed.parent))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        source = Source(f"http://127.0.0.1:{server.server_port}/{packed.name}", packed.name, f"sha256:{sha256(packed)}")
        downloaded = horse2zebra(tmp_path / "new", source)
        server.shutdown()
        thread.join()
    there = horse2zebra(layout.parent)
    for fetched, known in zip(downloaded, there, strict=True):
        assert fetched.names == known.names
        assert fetched.source == known.source


def test_what_an_interruption_has_unpacked_is_not_taken_for_whole(
    two_folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, root = tmp_path / "layout" / "horse2zebra", tmp_path / "root"
    for folder, side in zip(two_folders, ("trainA", "trainB"), strict=True):
        shutil.copytree(folder, layout / side)
    packed = Path(shutil.make_archive(str(root / "horse2zebra"), "zip", layout.parent))
    monkeypatch.setattr(archive, "download", lambda source, folder: packed)

    def extract_half(archive: Path, folder: Path) -> Path:
        for half in list(extract(archive, folder).rglob("*.png"))[::2]:
            half.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(archive, "extract", extract_half)
        with pytest.raises(KeyboardInterrupt):
            horse2zebra(root)
    assert [len(heap.names) for heap in horse2zebra(root)] == [12, 12]
    assert {path.name for path in root.iterdir()} == {"horse2zebra", "horse2zebra.zip"}
    shutil.rmtree(root / "horse2zebra" / "trainB")
    with pytest.raises(DataError, match="remove it, and `prepare` unpacks"):
        horse2zebra(root)


@pytest.mark.parametrize(("skip", "kept"), [(True, 12), (False, 13)])
def test_grey_pictures_are_left_out_where_the_config_says_so(two_folders: tuple[Path, Path], tmp_path: Path, skip: bool, kept: int) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60), dtype=np.uint8)).save(two_folders[1] / "grey.jpg")
    domains = load(own_run(two_folders, tmp_path / "run", skip_grey=skip))
    assert len(domains.b.names) == kept
    assert ("grey.jpg" in domains.b.names) is not skip


def test_no_picture_is_in_both_splits(finished_run: Run[Config]) -> None:
    for domain in (load(finished_run).a, load(finished_run).b):
        train, test = (set(domain.splits[split]) for split in ("train", "test"))
        assert not train & test
        assert len(train | test) == len(domain.names) == finished_run.config.synthetic_pictures


def test_test_pictures_that_training_also_holds_are_left_out() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 36, 36), dtype=np.uint8)
    pixels[3] = np.clip(pixels[0].astype(int) + 9, 0, 255)  # brighter
    pixels[4] = pixels[1][:, :, ::-1]  # mirrored
    assert without_twins(pixels, np.array([0, 1, 2]), np.array([3, 4, 5])).tolist() == [5]


def test_batches_are_crops_of_training_pictures_and_the_same_for_the_same_seed(finished_run: Run[Config]) -> None:
    domain = load(finished_run).a
    once, again = (draw_batch(domain, 24, 4, torch.Generator().manual_seed(7)) for _ in range(2))
    assert once.shape == (4, 3, 24, 24)
    assert torch.equal(once, again)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(domain.pixels[domain.splits["train"]]), (24, 24), (2, 3))
    for crop in (once[0].numpy(), once[0].flip(2).numpy()):
        matches = (windows == crop[None, :, None, None]).all((1, 4, 5))
        if matches.any():
            return
    raise AssertionError("the crop is in no training picture")


def test_a_crop_made_smaller_shows_as_much_of_the_picture(finished_run: Run[Config]) -> None:
    domain = load(finished_run).a
    whole, small = (draw_batch(domain, 32 // shrink, 4, torch.Generator().manual_seed(7), shrink) for shrink in (1, 2))
    assert small.shape == (4, 3, 16, 16)
    means = whole.unflatten(3, (16, 2)).unflatten(2, (16, 2)).float().mean((3, 5))
    assert torch.equal(small, means.round().byte())


def test_crops_that_no_stored_picture_holds_are_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"crops of 24 px, 2 times as large, need pictures stored so large"):
        Config(synthetic_pictures=2, stored_size=36, crop_size=32, small_epochs=1, small_crop_size=24, small_shrink=2)


@pytest.mark.parametrize("do", [prepare, load, train.main])
@pytest.mark.parametrize("changes", [{"seed": 2}, {"synthetic_pictures": 61}, {"skip_grey": False}])
def test_pictures_of_other_settings_are_neither_overwritten_nor_used(
    finished_run: Run[Config], do: Callable[[Run[Config]], object], changes: dict[str, Any]
) -> None:
    kept = {path.name: path.read_bytes() for path in (finished_run.directory / "prepared").iterdir()}
    (name, value), *_ = changes.items()
    with pytest.raises(DataError, match=f"was prepared with {name}=.*, not {value}: give --run another folder"):
        do(replace(finished_run, config=replace(finished_run.config, **changes)))
    assert kept == {path.name: path.read_bytes() for path in (finished_run.directory / "prepared").iterdir()}


def test_pictures_that_do_not_tell_the_seed_are_taken(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = copy_of(finished_run, make_run(tmp_path))
    path = run.directory / "prepared" / "pictures.json"
    described = json.loads(path.read_text())
    del described["settings"]["seed"]
    path.write_text(json.dumps(described))
    assert load(run).a.names == load(finished_run).a.names


def test_the_seed_of_real_pictures_decides_nothing_of_them(two_folders: tuple[Path, Path], tmp_path: Path) -> None:
    load(own_run(two_folders, tmp_path / "run", seed=1))
    prepare(own_run(two_folders, tmp_path / "run", seed=2))


def test_a_damaged_picture_is_named(two_folders: tuple[Path, Path], tmp_path: Path) -> None:
    (two_folders[1] / "torn.png").write_bytes((two_folders[1] / "SYNTHETIC_striped_0000.png").read_bytes()[:99])
    with pytest.raises(DataError, match=r"torn\.png of domain b, striped: .* truncated or damaged; repair the picture"):
        prepare(own_run(two_folders, tmp_path / "run"))


def test_a_domain_without_colour_names_the_setting_that_takes_it(two_folders: tuple[Path, Path], tmp_path: Path) -> None:
    for path in two_folders[0].iterdir():
        Image.open(path).convert("L").save(path)
    with pytest.raises(DataError, match=r"all pictures of domain a, plain, are grey: .* skip_grey=false"):
        prepare(own_run(two_folders, tmp_path / "run"))


@pytest.mark.parametrize("do", [prepare, train.main])
def test_vgg19_is_missed_before_pictures_are_decoded(
    two_folders: tuple[Path, Path], tmp_path: Path, do: Callable[[Run[Config]], None]
) -> None:
    run = own_run(two_folders, tmp_path / "run", net=NetConfig(features=("conv1_2",)))
    with pytest.raises(DataError, match=r"vgg19=PATH, or the folder that holds them with --data-root .*vgg19-dcbb9e9d.pth"):
        do(run)
    assert not run.directory.exists()


def test_another_seed_draws_other_blobs(tmp_path: Path) -> None:
    first, second = (synthetic.draw(tmp_path / str(seed), 2, seed)[0] for seed in (1, 2))
    assert (first / "SYNTHETIC_plain_0000.png").read_bytes() != (second / "SYNTHETIC_plain_0000.png").read_bytes()
