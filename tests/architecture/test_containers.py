"""The compose file and the images keep their promises, as far as reading them tells."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.runtime.device import Device
from app.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
SERVERS = ("api", "api-gpu")
OBSERVERS = ("prometheus", "grafana")  # ready-made images
KNOWN_KEYS = {  # of the Compose specification, those that we use: a typing slip must not become a setting that is ignored
    "build", "cap_drop", "command", "deploy", "environment", "healthcheck", "image", "init", "ports", "profiles", "read_only", "restart",
    "security_opt", "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip


def test_there_are_a_server_for_each_processor_its_observers_and_a_trainer_behind_their_profiles() -> None:
    assert {name: service.get("profiles", []) for name, service in SERVICES.items()} == {
        "api": [],
        "api-gpu": ["gpu"],
        "prometheus": ["observability"],
        "grafana": ["observability"],
        "trainer": ["train"],
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_key_that_compose_does_not_know(name: str) -> None:
    assert set(SERVICES[name]) - KNOWN_KEYS == set()
    if name not in OBSERVERS:
        assert (ROOT / SERVICES[name]["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", OBSERVERS)
def test_an_observer_is_one_version_and_can_write_nothing_but_its_data(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[a-z]+/[a-z]+:v?[0-9]+\.[0-9]+\.[0-9]+", service["image"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    sources = [volume.split(":") for volume in service["volumes"]]
    for source, _, *mode in sources:
        assert (source in COMPOSE["volumes"] and not mode) or ((ROOT / source).is_file() and mode == ["ro"]), source


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_can_write_nothing_and_gain_nothing(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["./models:/models:ro", *(["engines:/engines"] if name == "api-gpu" else [])]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_healthy_when_its_models_are_ready(name: str) -> None:
    assert "/health/ready" in " ".join(SERVICES[name]["healthcheck"]["test"])


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 404)  # a proxy would be asked for the whole address
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("name", [*SERVERS, "the image"])
def test_a_health_check_asks_the_server_itself_whatever_proxy_the_network_has(name: str) -> None:
    if name == "the image":
        written = re.search(r"HEALTHCHECK .*\n +CMD (\[.+\])", (ROOT / "app" / "Dockerfile").read_text(encoding="utf-8"))
        _, *arguments = json.loads(written[1])  # type: ignore[index]
    else:
        _, _, *arguments = SERVICES[name]["healthcheck"]["test"]
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        command = [sys.executable, *(argument.replace(":8000/", f":{server.server_port}/") for argument in arguments)]
        proxied = os.environ | {"AXON_PORT": str(server.server_port), "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
        assert subprocess.run(command, env=proxied, timeout=30).returncode == 0


def test_the_gpu_server_reserves_a_device_and_refuses_to_run_without_it() -> None:
    service = SERVICES["api-gpu"]
    assert service["deploy"]["resources"]["reservations"]["devices"] == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert service["environment"] == {
        "AXON_PROVIDER": "cuda",
        "AXON_STRICT_PROVIDER": "true",
        "AXON_CPU_MODELS": "anna,shakespeare",
        "AXON_TENSORRT_CACHE": "/engines",
    }
    device = Settings(
        **{name.removeprefix("AXON_").lower(): value for name, value in service["environment"].items() if value != "/engines"}
    )
    assert device.device() == Device("cuda", strict=True, cpu_models=frozenset({"anna", "shakespeare"}))
    assert "install --directory --owner 10001 /engines" in (ROOT / "app" / "Dockerfile").read_text(encoding="utf-8")


def test_the_servers_image_proves_that_torch_is_absent_and_runs_as_nobody_special() -> None:
    text = (ROOT / "app" / "Dockerfile").read_text(encoding="utf-8")
    assert "find_spec('torch') is None" in text
    assert "ORT_DISABLE_TELEMETRY=1" in text
    assert "/health/ready" in text
    user = [line.split()[1] for line in text.splitlines() if line.startswith("USER ")]
    assert user[-1:] == ["10001"]


def test_the_images_get_no_data_no_weights_and_no_history() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")]
    assert allowed == ["pyproject.toml", "README.md", "LICENSE", "app", "training"]
