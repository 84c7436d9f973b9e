"""A real server that draws: pictures over sockets, and clients that leave before their picture is drawn."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.drawing_models import scene, scene_png, tinted, write_tinting_model
from tests.e2e.server import RunningServer, running_server
from tests.e2e.test_server import wait_for

FAST, SLOW = "/v1/image-to-image/tints", "/v1/image-to-image/slow"
SIDE_PX = 900  # of a picture that takes two seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("models")
    write_tinting_model(root)
    write_tinting_model(root, "slow", slow=True, processor={"type": "photograph", "max_side_px": SIDE_PX})
    with running_server(root, tmp_path_factory.mktemp("server") / "log", cores=1) as server:
        yield server


def test_pictures_of_many_clients_come_back_as_their_own(server: RunningServer) -> None:
    def difference(seed: int) -> int:
        size = [(64, 48), (321, 257)][seed % 2]
        response = httpx2.post(
            f"{server.address}{FAST}?style=moss", content=scene_png(*size, seed), headers={"content-type": "image/png"}, timeout=60
        )
        drawn = np.asarray(Image.open(io.BytesIO(response.content)))
        return int(np.abs(drawn.astype(int) - tinted(scene(*size, seed), moss=1)).max())

    with ThreadPoolExecutor(8) as clients:
        assert max(clients.map(difference, range(40))) <= 1


def test_the_work_of_a_client_that_hangs_up_never_runs(server: RunningServer) -> None:
    """One picture is being drawn, another client's waits behind it: when that client has left, its picture is not drawn."""
    small = scene_png()
    head = f"POST {SLOW} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(small)}\r\n\r\n".encode()
    with ThreadPoolExecutor(1) as clients:
        url, headers = f"{server.address}{SLOW}", {"content-type": "image/png"}
        busy = clients.submit(httpx2.post, url, content=scene_png(SIDE_PX, SIDE_PX), headers=headers, timeout=60)
        wait_for(server, 'axon_pending_requests{model="slow"', 1)
        with socket.create_connection(("127.0.0.1", server.port)) as leaving:
            leaving.sendall(head + small)
            wait_for(server, 'axon_pending_requests{model="slow"', 2)
        wait_for(server, 'axon_inference_request_failure_total{model="slow",reason="cancelled"', 1)
        assert busy.result().status_code == 200
    assert httpx2.post(url, content=small, headers=headers, timeout=60).status_code == 200
    assert server.metric('axon_inference_count_total{model="slow"') == 2  # those of the two that waited
    assert server.metric('axon_pending_requests{model="slow"') == 0
    assert "Traceback" not in server.log()
