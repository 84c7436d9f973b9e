"""What `axon-train` makes of its arguments."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training.__main__ import as_overrides, data_root, parse, step_of
from training.kit.config import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--content", "a.jpg", "--style=b.jpg", "steps=3"], ["content=a.jpg", "style=b.jpg", "steps=3"]),
        (["--domain-a", "horses"], ["domain_a=horses"]),
        (["--preset", "tiny", "--run=here", "--models", "m"], ["--preset", "tiny", "--run=here", "--models", "m"]),
        (["--loss.style-weight", "3"], ["loss.style_weight=3"]),
    ],
)
def test_an_option_that_is_not_the_commands_own_is_a_setting(given: list[str], expected: list[str]) -> None:
    assert as_overrides(given) == expected


def test_options_and_settings_may_be_mixed() -> None:
    arguments = parse(["gatys", "train", "--content", "a.jpg", "steps=3", "--preset", "tiny", "--style", "b.jpg"])
    assert (arguments.preset, arguments.overrides) == ("tiny", ["content=a.jpg", "steps=3", "style=b.jpg"])


def test_a_command_of_a_recipe_takes_its_word_bare() -> None:
    arguments = parse(["style-transfer", "add-style", "sea.jpg", "added_steps=9"])
    assert step_of(arguments, "training.recipes.style_transfer") == "training.recipes.style_transfer.add_style"
    assert arguments.overrides == ["painting=sea.jpg", "added_steps=9"]


def test_a_recipe_without_a_network_has_nothing_to_export_and_says_what_it_has() -> None:
    with pytest.raises(ConfigError, match=r"gatys has no command 'export'; it has: prepare, train, evaluate$"):
        step_of(parse(["gatys", "export"]), "training.recipes.gatys")


def test_a_command_that_nobody_knows_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"has no command 'fly'; it has: prepare, train, evaluate, export, add-style"):
        step_of(parse(["style-transfer", "fly"]), "training.recipes.style_transfer")


def test_a_data_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ham10000.tar").touch()
    with pytest.raises(ConfigError, match=r"ham10000.tar is no folder: --data-root or AXON_DATA"):
        data_root(parse(["sentiment", "train", "--data-root", str(tmp_path / "ham10000.tar")]))
    assert data_root(parse(["sentiment", "train", "--data-root", str(tmp_path / "new")])) == tmp_path / "new"


def test_an_empty_data_root_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXON_DATA", "")
    assert data_root(parse(["sentiment", "train"])) is None


def test_what_is_missing_is_named_and_what_may_be_left_out_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["sentiment"])
    assert "required: command\n" in capsys.readouterr().err


def test_a_training_that_is_stopped_ends_as_of_the_signal() -> None:
    """So a shell's loop over several trainings ends, too."""
    program = "import signal, training.__main__ as m; m.step_of = lambda *_: signal.raise_signal(signal.SIGINT); m.main()"
    result = subprocess.run([sys.executable, "-c", program, "sentiment", "train"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (-signal.SIGINT, "\naxon-train: stopped\n")
