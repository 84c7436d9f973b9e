"""`axon check` and the messages of a wrong start."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app import command_line
from app.runtime.loader import read_manifest
from app.settings import Settings
from tests.e2e.server import ROOT, environment, running_server
from tests.model_repository import edit_manifest, write_colour_model, write_word_model
from tests.slow_models import write_slow_model


def axon(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment(**settings))


def test_check_says_that_every_model_is_ready(toy_models: Path) -> None:
    result = axon("check", str(toy_models))
    assert (result.returncode, result.stdout) == (0, "colours/1  ready\nwords/1  ready\n")


def test_check_names_the_refused_model_and_fails(tmp_path: Path) -> None:
    write_word_model(tmp_path)
    edit_manifest(write_colour_model(tmp_path), lambda fields: fields.update(temprature=2))
    result = axon("check", models=tmp_path)
    assert result.returncode == 1
    assert "colours/1  refused  manifest.json does not fit schema 1: unknown field temprature" in result.stdout
    assert "words/1  ready" in result.stdout
    assert "Traceback" not in result.stderr


def test_check_of_an_empty_repository_fails(tmp_path: Path) -> None:
    result = axon("check", str(tmp_path))
    assert result.returncode == 1
    assert "there is no model in" in result.stderr


def test_check_refuses_a_model_that_hangs_and_ends(tmp_path: Path) -> None:
    folder = write_slow_model(tmp_path)
    (folder / "golden" / "request.txt").write_text("hang hang", encoding="utf-8")  # four seconds and more
    result = axon("check", str(tmp_path), load_timeout_ms=500)
    assert result.returncode == 1, result.stderr
    assert "slow/1  refused  loading took longer than 0.5 s" in result.stdout
    assert "the process ends without it" in result.stderr


def test_a_variable_that_is_no_setting_is_named_in_the_log(toy_models: Path, tmp_path: Path) -> None:
    with running_server(toy_models, tmp_path / "log", workers=2, data="/data", service_host="10.0.0.1") as server:
        log = server.log()
    assert "AXON_WORKERS is no setting of the server" in log
    assert "AXON_DATA" not in log
    assert "AXON_SERVICE_HOST" not in log


def test_the_port_that_kubernetes_names_is_no_setting(toy_models: Path) -> None:
    """Beside a Service called axon every container gets it."""
    result = axon("check", models=toy_models, port="tcp://10.0.0.1:8000")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"port": "abc"}, "AXON_PORT"),
        ({"port": 70_000}, "AXON_PORT"),
        ({"provider": "abacus"}, "AXON_PROVIDER"),
        ({"max_queue_size": 0}, "AXON_MAX_QUEUE_SIZE"),
        ({"gpu_precision": "int8"}, "AXON_GPU_PRECISION"),
        ({"gpu_memory_bytes": 0}, "AXON_GPU_MEMORY_BYTES"),
        ({"tensorrt_cache": "/nowhere/at/all"}, "AXON_TENSORRT_CACHE"),
        ({"cpu_models": "anna,../etc"}, "AXON_CPU_MODELS"),
        ({"models": ""}, "AXON_MODELS"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_starts(settings: dict[str, object], says: str) -> None:
    result = axon("serve", **settings)
    assert result.returncode == 1
    assert result.stderr.startswith(f"axon: {says}: ")
    assert "Traceback" not in result.stderr


def test_an_unknown_command_lists_those_that_exist() -> None:
    result = axon("train")
    assert result.returncode == 2
    assert "serve" in result.stderr
    assert "check" in result.stderr


def test_check_looks_at_every_version(tmp_path: Path) -> None:
    write_word_model(tmp_path)
    write_word_model(tmp_path, version="2")
    assert axon("check", str(tmp_path)).stdout == "words/2  ready\nwords/1  ready\n"


def test_models_lists_what_lies_there_without_loading_it(tmp_path: Path) -> None:
    write_word_model(tmp_path, title="Words, newer", version="10")
    write_word_model(tmp_path, version="9")
    (write_colour_model(tmp_path) / "model.onnx").write_bytes(b"changed")
    result = axon("models", str(tmp_path))
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert lines[0].split() == ["name", "version", "task", "title", "size", "state"]
    assert lines[1].startswith("colours  1  ")
    assert "refused: the sha256 of model.onnx is not the manifest's" in lines[1]
    assert [line.split("  ")[0] for line in lines[2:]] == ["words", "words"]
    assert " 10 " in lines[2]
    assert "text-classification" in lines[2]
    assert "Words, newer" in lines[2]
    assert lines[2].endswith("whole")


def test_a_path_of_which_nothing_can_be_known_is_named() -> None:
    result = axon("models", api_keys_file="/" + "a" * 300)
    assert result.returncode == 1
    assert result.stderr.startswith("axon: a setting names /aaa")
    assert "Traceback" not in result.stderr


def test_an_empty_name_of_the_repository_is_not_the_current_folder() -> None:
    result = axon("models", "")
    assert (result.returncode, "AXON_MODELS: models must not be empty" in result.stderr) == (1, True)


def test_models_that_cannot_be_read_are_lines_among_the_others(tmp_path: Path) -> None:
    write_word_model(tmp_path)
    edit_manifest(write_colour_model(tmp_path, "nul"), lambda fields: fields["graphs"]["model"].update(file="model\0.onnx"))
    graph = write_colour_model(tmp_path, "loop") / "model.onnx"
    graph.unlink()
    graph.symlink_to(graph)
    edit_manifest(write_colour_model(tmp_path, "red"), lambda fields: fields.update({"\x1b[31m\nred": "red"}))
    result = axon("models", str(tmp_path))
    assert (result.returncode, "Traceback" in result.stderr) == (0, False)
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "loop", "nul", "red", "words"]
    assert all("  refused: " in line and line.isprintable() for line in lines[1:4])
    assert lines[4].endswith("whole")


def test_a_list_ends_quietly_where_its_reader_has_seen_enough(tmp_path: Path) -> None:
    write_word_model(tmp_path)
    for name in map("many-{}".format, range(2000)):  # more than a pipe holds
        (tmp_path / name / "1").mkdir(parents=True)
    command = [sys.executable, "-m", "app", "models", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith(b"name ")
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", -signal.SIGPIPE)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(13, "Permission denied", "/models/colours/1/model.onnx"), "Permission denied"),
        (ValueError("embedded null byte"), "embedded null byte"),
        (RuntimeError("Symlink loop from '/models'"), "Symlink loop from '/models'"),
    ],
)
def test_a_file_system_that_refuses_one_model_hides_no_other(
    tmp_path: Path, error: Exception, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_word_model(tmp_path)
    folder, is_file = write_colour_model(tmp_path), Path.is_file

    def refuse(path: Path, **options: Any) -> bool:
        if folder in path.parents:
            raise error
        return is_file(path, **options)

    monkeypatch.setattr(Path, "is_file", refuse)
    command_line.list_models(Settings(models=tmp_path))
    _, colours, words = capsys.readouterr().out.splitlines()
    assert colours.startswith("colours  1 ")
    assert colours.endswith(f"  refused: the folder cannot be read ({says})")
    assert words.endswith("whole")


def test_a_title_writes_no_lines_and_no_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_word_model(tmp_path)
    manifest = read_manifest(tmp_path, "words", "1").model_copy(update={"title": "W\u00f6rter\n\x1b[31m"})
    monkeypatch.setattr(command_line, "read_manifest", lambda *_: manifest)
    command_line.list_models(Settings(models=tmp_path))
    _, line = capsys.readouterr().out.splitlines()
    assert "  W\u00f6rter\\n\\x1b[31m  " in line


def test_models_of_an_empty_repository_fails(tmp_path: Path) -> None:
    result = axon("models", str(tmp_path))
    assert (result.returncode, result.stderr) == (1, f"axon: there is no model in {tmp_path}\n")
