"""README tells the truth: its commands run, its tables are the code's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.architecture.readme_tables import error_kinds, model_rows, setting_rows

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
PORT_LINE = re.compile(r"running on (http://127\.0\.0\.1:\d+)")


def curl_commands() -> list[str]:
    """Every command of README's bash blocks that calls curl, continued lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").replace("|\n", "| ").splitlines()
    return [line for line in lines if "curl" in line]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server on the shipped models, started as `make serve` does, on a free port."""
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as file:
        environment = os.environ | {"AXON_PORT": "0", "AXON_MODELS": str(ROOT / "models")}
        process = subprocess.Popen([sys.executable, "-m", "app", "serve"], cwd=ROOT, env=environment, stderr=file)
        try:
            yield _ready_address(log, process)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _ready_address(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        found = PORT_LINE.search(log.read_text())
        if found and _is_ready(found[1]):
            return found[1]
        time.sleep(0.1)
    pytest.fail(f"the server did not become ready:\n{log.read_text()}")


def _is_ready(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/health/ready", timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
        return False
    return True


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
@pytest.mark.parametrize("command", curl_commands())
def test_every_curl_of_the_readme_succeeds(command: str, address: str, tmp_path: Path) -> None:
    assert ADDRESS in command
    files = re.findall(r" -o (\S+)", command)
    command = re.sub(r" -o (\S+)", rf" -o {tmp_path}/\1", command.replace(ADDRESS, address))
    script = f'set -eo pipefail; curl() {{ command curl --silent --show-error --fail-with-body "$@"; }}; {command}'
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert done.stdout.strip() or files
    for name in files:
        with Image.open(tmp_path / name) as image:
            assert min(image.size) >= 16


def test_the_readme_asks_every_kind_of_endpoint() -> None:
    commands = "\n".join(curl_commands())
    paths = (
        "/image-classification/",
        "/roc",
        "/image-to-image/",
        "/text-classification/",
        "/text-generation/",
        "/v1/completions",
        "/v1/models'",
        "/v1/models/",
        "/v2'",
        "/infer",
        "/generate",
        "/repository/index",
        "/health/live",
        "/health/ready",
        "/metrics",
    )
    assert [path for path in paths if path not in commands] == []


def test_the_settings_table_is_the_settings() -> None:
    rows = setting_rows()
    missing = [row for row in rows if row not in README]
    assert missing == [], "the table in README.md should be:\n" + "\n".join(rows)
    assert len(re.findall(r"^\| `AXON_", README, re.MULTILINE)) == len(rows), "README.md lists a setting that does not exist"


def test_the_errors_table_is_the_error_tree() -> None:
    assert set(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", README, re.MULTILINE)) == error_kinds()


def test_the_models_table_is_what_the_manifests_say() -> None:
    rows = model_rows(ROOT / "models")
    assert rows
    missing = [row for row in rows if row not in README]
    assert missing == [], "the table in README.md should be:\n" + "\n".join(rows)
    assert len(re.findall(r"^\| \[[a-z0-9._-]+\]\(training/recipes/", README, re.MULTILINE)) == len(rows)
