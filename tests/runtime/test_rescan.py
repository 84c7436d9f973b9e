"""A repository that follows its folder: what is new, changed, gone or broken while the server answers."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from app.errors import ModelNotFound, ModelNotReady, ModelRejected, RunStuck
from app.runtime.loader import ModelLoader
from app.runtime.repository import ModelStatus
from app.runtime.run_threads import are_left
from app.tasks.text_classification import Pipeline as TextClassificationPipeline
from tests.model_repository import edit_manifest, picture, write_colour_model, write_word_model
from tests.runtime.conftest import Load

pytestmark = pytest.mark.anyio


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository of its own: these tests change it."""
    write_colour_model(tmp_path)
    write_word_model(tmp_path)
    return tmp_path


class Gate:
    """Closed: who comes to it hangs until the test is over, or opens it."""

    def __init__(self) -> None:
        self.opened, self._reached = Event(), Event()

    def hang(self, *_: object) -> None:
        self._reached.set()
        self.opened.wait(30)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 20)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


def retitle(folder: Path, title: str) -> None:
    edit_manifest(folder, lambda fields: fields.update(title=title))


def break_manifest(folder: Path) -> None:
    edit_manifest(folder, lambda fields: fields.update(temprature=2))


def remove(folder: Path) -> None:
    folder.rename(folder.parent / f".{folder.name}")  # what begins with a dot is not looked at


def move(folder: Path, to: Path) -> None:
    folder.rename(to)


async def test_a_folder_that_is_as_it_was_changes_nothing(models: Path, load: Load) -> None:
    repository = load(models)
    before = repository.all_served()
    await repository.rescan()
    assert repository.all_served() == before


async def test_what_is_new_is_loaded_and_a_newer_version_takes_over(models: Path, load: Load) -> None:
    repository = load(models)
    write_colour_model(models, version="2")
    write_word_model(models, "late")
    await repository.rescan()
    assert repository.get("colours").manifest.version == "2"
    assert repository.get("colours", "1").manifest.version == "1"
    assert repository.get("late").name == "late"


async def test_a_version_with_a_zero_before_it_is_named_in_the_log(models: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """2 and 02 would be one version; so the folder is not served, and not silently."""
    (models / "colours" / "1").rename(models / "colours" / "02")
    assert [status.name for status in load(models).statuses()] == ["words"]
    assert "colours/02 is not served: a version is a whole number" in caplog.text


async def test_a_model_without_a_folder_of_a_version_is_named_in_the_log(
    models: Path, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (models / "colours" / "1").iterdir():
        path.rename(models / "colours" / path.name)
    (models / "colours" / "1").rmdir()
    assert [status.name for status in load(models).statuses()] == ["words"]
    assert f"colours is not served: it has no folder of a version; move its files into {models}/colours/1" in caplog.text
    caplog.clear()
    write_colour_model(models)
    assert [status.name for status in load(models).statuses()] == ["colours", "words"]
    assert "no folder of a version" not in caplog.text  # what lies beside a version is no model


async def test_what_is_gone_is_served_no_more(models: Path, load: Load) -> None:
    write_colour_model(models, version="2")
    repository = load(models)
    remove(models / "colours" / "2")
    remove(models / "words")
    await repository.rescan()
    assert repository.get("colours").manifest.version == "1"
    with pytest.raises(ModelNotFound, match="available: colours"):
        repository.get("words")
    assert [status.name for status in repository.statuses()] == ["colours"]


async def test_what_was_changed_is_loaded_again_and_only_that(models: Path, load: Load) -> None:
    repository = load(models)
    colours, words = repository.get("colours"), repository.get("words")
    retitle(models / "words" / "1", "Other words")
    await repository.rescan()
    assert repository.get("words").manifest.title == "Other words"
    assert repository.get("words") is not words
    assert repository.get("colours") is colours


async def test_the_old_model_serves_until_the_new_one_is_warm(
    models: Path, load: Load, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = load(models)
    words, loader = repository.get("words"), repository._loader
    opened = loader.load
    monkeypatch.setattr(loader, "load", lambda name, version: (gate.hang(), opened(name, version))[1])
    retitle(models / "words" / "1", "Other words")
    write_word_model(models, version="2")
    rescanning = asyncio.ensure_future(repository.rescan())
    await gate.reached()
    assert repository.get("words") is words
    assert [(status.version, status.state) for status in repository.statuses() if status.name == "words"] == [
        ("2", "loading"),
        ("1", "ready"),
    ]
    with pytest.raises(ModelNotReady, match="'words@2' is not ready: it is still loading"):
        repository.get("words", "2")
    gate.opened.set()
    await rescanning
    assert repository.get("words").manifest.version == "2"
    assert repository.get("words", "1").manifest.title == "Other words"


async def test_files_that_are_refused_leave_the_old_model_serving(models: Path, load: Load) -> None:
    repository = load(models)
    words = repository.get("words")
    break_manifest(models / "words" / "1")
    await repository.rescan()
    assert repository.get("words") is words
    status = repository.statuses()[1]
    assert (status.state, status.needed) == ("ready", True)
    assert (status.reason or "").startswith("the files were changed and are refused: manifest.json does not fit schema 1: unknown field")
    edit_manifest(models / "words" / "1", lambda fields: fields.pop("temprature"))
    await repository.rescan()
    assert repository.statuses()[1] == ModelStatus("words", "1", "ready")


async def test_a_new_version_that_is_refused_is_named_and_is_not_needed(models: Path, load: Load) -> None:
    repository = load(models)
    break_manifest(write_word_model(models, version="2"))
    await repository.rescan()
    status = repository.statuses()[1]
    assert (status.name, status.version, status.state, status.needed) == ("words", "2", "refused", False)
    assert repository.get("words").manifest.version == "1"


async def test_a_version_that_was_refused_is_tried_again(models: Path, load: Load) -> None:
    break_manifest(models / "words" / "1")
    repository = load(models)
    edit_manifest(models / "words" / "1", lambda fields: fields.pop("temprature"))
    await repository.rescan()
    assert repository.get("words").manifest.version == "1"
    assert repository.statuses()[1] == ModelStatus("words", "1", "ready")


async def test_a_request_finishes_on_the_model_that_it_began_with(models: Path, load: Load) -> None:
    repository = load(models)
    colours = repository.get("colours")
    answering = [asyncio.ensure_future(colours.predict([picture("blue")] * 8)) for _ in range(10)]  # type: ignore[attr-defined]
    remove(models / "colours")
    await repository.rescan()
    assert repository.all_served() == [repository.get("words")]
    for answer in await asyncio.gather(*answering):
        assert [int(each.probabilities.argmax()) for each in answer.answers] == [2] * 8


async def test_two_scans_at_once_follow_each_other(models: Path, load: Load) -> None:
    repository = load(models)
    write_word_model(models, version="2")
    await asyncio.gather(*(repository.rescan() for _ in range(3)), repository.load("words"))
    assert repository.versions("words") == ["2", "1"]


async def test_one_model_is_loaded_without_the_others(models: Path, load: Load) -> None:
    repository = load(models)
    write_word_model(models, version="2")
    write_colour_model(models, version="2")
    await repository.load("words")
    assert (repository.versions("words"), repository.versions("colours")) == (["2", "1"], ["1"])
    assert await repository.unserved() == [("colours", "2")]
    break_manifest(write_word_model(models, version="3"))
    with pytest.raises(ModelRejected, match="version 3: manifest"):
        await repository.load("words")
    assert repository.get("words").manifest.version == "2"


async def test_what_was_unloaded_comes_back_with_the_next_scan(models: Path, load: Load) -> None:
    repository = load(models)
    await repository.unload("words")
    assert await repository.unserved() == [("words", "1")]
    await repository.rescan()
    assert repository.get("words").name == "words"
    assert await repository.unserved() == []


async def test_a_model_that_is_not_well_is_loaded_again(models: Path, load: Load) -> None:
    repository = load(models)
    words = repository.get("words")
    words.health.problem = "a run took longer than 1 s and was given up"
    assert repository.statuses()[1] == ModelStatus("words", "1", "stuck", words.health.problem)
    await repository.rescan()
    assert repository.get("words") is not words
    assert repository.statuses()[1] == ModelStatus("words", "1", "ready")


async def test_a_model_that_hangs_is_tried_no_more_when_it_is_replaced_or_gone(models: Path, load: Load) -> None:
    repository = load(models, stuck_run_timeout_ms=50)
    tried: list[str] = []
    for name in ("words", "colours"):
        health = repository.get(name).health
        health._trial = lambda name=name: tried.append(name)  # type: ignore[misc]
        health.failed(RunStuck(1))
    remove(models / "colours")
    await repository.rescan()
    tried.clear()  # loading may have taken longer than the first pause
    await asyncio.sleep(0.2)
    assert tried == []
    assert repository.statuses() == [ModelStatus("words", "1", "ready")]


async def test_a_server_that_ends_loads_no_more(models: Path, load: Load) -> None:
    repository = load(models)
    remove(models / "words" / "1")
    write_word_model(models, version="2")
    repository.stop_loading()
    with pytest.raises(ModelNotReady, match=r"the server is shutting down; nothing is loaded any more"):
        await repository.load("words")
    await repository.start()
    await repository.rescan()
    assert repository.versions("words") == ["1"]


async def test_a_server_that_ends_does_not_wait_for_a_model_that_hangs_while_it_loads(
    models: Path, load: Load, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = load(models)
    monkeypatch.setattr(TextClassificationPipeline, "load", gate.hang)
    write_word_model(models, version="2")
    loading, scanning = asyncio.create_task(repository.load("words")), asyncio.create_task(repository.rescan())
    await gate.reached()
    assert repository.get("words").manifest.version == "1"
    await repository.drain(0)
    with pytest.raises(ModelNotReady, match="shutting down"):
        await asyncio.wait_for(loading, 5)
    await asyncio.wait_for(scanning, 5)


@pytest.mark.parametrize("look", ["folders", "fingerprint"])
async def test_a_server_that_ends_does_not_wait_for_a_file_system_that_hangs(
    models: Path, load: Load, gate: Gate, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    repository = load(models)
    monkeypatch.setattr(ModelLoader, look, gate.hang)
    scanning = asyncio.create_task(repository.rescan())
    await gate.reached()
    await repository.drain(0)
    await asyncio.wait_for(scanning, 5)
    assert are_left()  # the thread is left to itself


async def test_a_model_that_hangs_while_it_loads_is_given_up_and_refused(
    models: Path, load: Load, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = load(models, load_timeout_ms=3000)
    with monkeypatch.context() as hanging:
        hanging.setattr(TextClassificationPipeline, "load", gate.hang)
        write_word_model(models, version="2")
        with pytest.raises(ModelRejected, match=r"version 2: loading took longer than 3 s and was given up; .*AXON_LOAD_TIMEOUT_MS"):
            await repository.load("words")
    assert repository.get("words").manifest.version == "1"
    assert [status.state for status in repository.statuses() if status.version == "2"] == ["refused"]
    await repository.load("words")  # the next one is not kept from its turn
    assert repository.get("words").manifest.version == "2"


async def test_a_root_that_is_gone_changes_nothing(models: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """A volume that is not mounted for a moment; an empty folder is another matter."""
    repository = load(models)
    before = repository.all_served()
    away = models.with_name("away")
    move(models, away)
    await repository.rescan()
    assert repository.all_served() == before
    assert "cannot be read (No such file or directory): nothing changes, what is served stays" in caplog.text
    assert await repository.unserved() == []
    with pytest.raises(ModelRejected, match="the model repository cannot be read"):
        await repository.load("words")
    move(away, models)
    await repository.rescan()
    assert repository.all_served() == before


def no_file_more(path: Path) -> Iterator[Path]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_a_folder_that_cannot_be_read_keeps_what_is_served_of_it_and_stops_nobody(
    models: Path, load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    repository = load(models)
    before = repository.all_served()
    write_word_model(models, version="2")
    look = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: no_file_more(path) if path.name in ("colours", "lost+found") else look(path))
    (models / "lost+found").mkdir()
    await repository.rescan()
    assert "lost+found cannot be read (Too many open files), and nothing that is new in it is served" in caplog.text
    assert repository.versions("words") == ["2", "1"]
    assert repository.get("colours") in before
    assert [status.name for status in load(models).statuses()] == ["words", "words"]  # nor does it stop a start
    monkeypatch.setattr(Path, "iterdir", no_file_more)
    await repository.rescan()
    assert repository.versions("words") == ["2", "1"]
    assert "(Too many open files): nothing changes" in caplog.text


async def test_an_error_that_nobody_thought_of_refuses_that_version_alone(
    models: Path, load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    repository = load(models)
    retitle(models / "words" / "1", "Other words")
    write_colour_model(models, version="2")
    with monkeypatch.context() as broken:
        fingerprint = ModelLoader.fingerprint
        broken.setattr(ModelLoader, "fingerprint", lambda self, name, version: {"2": fingerprint}[version](self, name, version))
        await repository.rescan()
    assert repository.versions("colours") == ["2", "1"]
    assert "words/1 is refused: loading failed (KeyError); the server's log has the details" in caplog.text
    assert repository.get("words").manifest.title != "Other words"
    await repository.rescan()
    assert repository.get("words").manifest.title == "Other words"


async def test_names_that_are_no_text_stop_nothing(models: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """A file may be called anything; a model may not, for its name stands in every answer that lists the models."""
    odd = os.fsdecode(b"notes-\xe4.txt")
    (models / "words" / "1" / odd).write_text("in Latin-1")
    write_word_model(models, "late").parent.rename(models / odd)
    repository = load(models)
    await repository.rescan()
    assert [(status.name, status.state) for status in repository.statuses()] == [("colours", "ready"), ("words", "ready")]
    assert r"'notes-\udce4.txt' is not served: its name does not print" in caplog.text


async def test_whoever_asks_for_the_folder_brings_no_warnings_about(models: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is a version warned of that is copied under a name with a dot before it, as the documentation says."""
    (models / "words" / "02").mkdir()
    (models / "words" / "02" / "manifest.json").touch()
    write_word_model(models, version="2").rename(models / "words" / ".2")
    repository = load(models)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{models}/words/02 is not served: a version is a whole number from 1 on, without zeros before it; rename the folder"
    ]
    caplog.clear()
    assert await repository.unserved() == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
