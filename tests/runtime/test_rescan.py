"""A repository that follows its folder: what is new, changed, gone or broken while the server answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Event

import pytest

from app.errors import ModelNotFound, ModelNotReady, ModelRejected, RunStuck
from app.runtime.loader import ModelLoader
from app.runtime.pipeline import Servable
from app.runtime.repository import ModelStatus
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


def retitle(folder: Path, title: str) -> None:
    edit_manifest(folder, lambda fields: fields.update(title=title))


def break_manifest(folder: Path) -> None:
    edit_manifest(folder, lambda fields: fields.update(temprature=2))


def remove(folder: Path) -> None:
    folder.rename(folder.parent / f".{folder.name}")  # what begins with a dot is not looked at


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


async def test_the_old_model_serves_until_the_new_one_is_warm(models: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = load(models)
    words, loader = repository.get("words"), repository._loader
    opened = loader.load
    monkeypatch.setattr(loader, "load", lambda name, version: (time.sleep(0.2), opened(name, version))[1])
    retitle(models / "words" / "1", "Other words")
    write_word_model(models, version="2")
    rescanning = asyncio.ensure_future(repository.rescan())
    await asyncio.sleep(0.1)
    assert repository.get("words") is words
    assert [(status.version, status.state) for status in repository.statuses() if status.name == "words"] == [
        ("2", "loading"),
        ("1", "ready"),
    ]
    with pytest.raises(ModelNotReady, match="'words/2' is not ready: it is still loading"):
        repository.get("words", "2")
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
    assert repository.unserved() == [("colours", "2")]
    break_manifest(write_word_model(models, version="3"))
    with pytest.raises(ModelRejected, match="version 3: manifest"):
        await repository.load("words")
    assert repository.get("words").manifest.version == "2"


async def test_what_was_unloaded_comes_back_with_the_next_scan(models: Path, load: Load) -> None:
    repository = load(models)
    await repository.unload("words")
    assert repository.unserved() == [("words", "1")]
    await repository.rescan()
    assert repository.get("words").name == "words"
    assert repository.unserved() == []


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


@pytest.fixture
def gate() -> Iterator[Event]:
    """Closed: what waits for it hangs until the test is over."""
    gate = Event()
    yield gate
    gate.set()


async def test_a_server_that_ends_loads_no_more(models: Path, load: Load) -> None:
    repository = load(models)
    remove(models / "words" / "1")
    write_word_model(models, version="2")
    repository.stop_loading()
    with pytest.raises(ModelNotReady, match=r"the server is shutting down; words/2 was not loaded"):
        await repository.load("words")
    await repository.start()
    await repository.rescan()
    assert repository.versions("words") == []


async def test_a_server_that_ends_does_not_wait_for_a_model_that_hangs_while_it_loads(
    models: Path, load: Load, gate: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = load(models)
    monkeypatch.setattr(TextClassificationPipeline, "load", lambda *_: gate.wait(30))
    write_word_model(models, version="2")
    loading, scanning = asyncio.create_task(repository.load("words")), asyncio.create_task(repository.rescan())
    await asyncio.sleep(0.2)
    assert repository.get("words").manifest.version == "1"
    await repository.drain(0)
    with pytest.raises(ModelNotReady, match="shutting down"):
        await asyncio.wait_for(loading, 5)
    await asyncio.wait_for(scanning, 5)


async def test_a_server_that_ends_while_a_model_is_about_to_load_does_not_wait_for_it_either(
    models: Path, load: Load, gate: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = load(models)
    begin, asked, may_begin = ModelLoader.begin, Event(), Event()

    def begin_late(loader: ModelLoader, name: str, version: str) -> Future[Servable]:
        asked.set()
        may_begin.wait(30)
        return begin(loader, name, version)

    monkeypatch.setattr(ModelLoader, "begin", begin_late)
    monkeypatch.setattr(TextClassificationPipeline, "load", lambda *_: gate.wait(30))
    write_word_model(models, version="2")
    loading = asyncio.create_task(repository.load("words"))
    assert await asyncio.to_thread(asked.wait, 10)
    await repository.drain(0)
    may_begin.set()
    with pytest.raises(ModelNotReady, match="shutting down"):
        await asyncio.wait_for(loading, 5)


async def test_a_model_that_hangs_while_it_loads_is_given_up_and_refused(
    models: Path, load: Load, gate: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = load(models, load_timeout_ms=300)
    with monkeypatch.context() as hanging:
        hanging.setattr(TextClassificationPipeline, "load", lambda *_: gate.wait(30))
        write_word_model(models, version="2")
        with pytest.raises(ModelRejected, match=r"version 2: loading took longer than 0\.3 s and was given up; .*AXON_LOAD_TIMEOUT_MS"):
            await repository.load("words")
    assert repository.get("words").manifest.version == "1"
    assert [status.state for status in repository.statuses() if status.version == "2"] == ["refused"]
    await repository.load("words")  # the next one is not kept from its turn
    assert repository.get("words").manifest.version == "2"
