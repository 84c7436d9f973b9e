"""Requests of the protocol, written by hand, and what every refusal of them must be."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from httpx2 import Response
from numpy.typing import NDArray
from starlette.testclient import TestClient

from tests.api.error_shape import LIBRARY_TEXT
from tests.character_models import ids_of
from tests.model_repository import COLOURS, SIDE_PX, WORDS

COLOURS_URL, WORDS_URL, SUMS_URL = (f"/v2/models/{name}/infer" for name in ("colours", "words", "sums"))
JSON_BYTES = "Inference-Header-Content-Length"


def pixels(*names: str) -> NDArray[np.uint8]:
    """Plain pictures as the colour model's graph takes them. (B, 3, H, W)"""
    rows = [np.broadcast_to(np.array(COLOURS[name], np.uint8)[:, None, None], (3, SIDE_PX, SIDE_PX)) for name in names]
    return np.stack(rows)


def word_ids(*texts: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(input_ids (B, T), lengths (B,)) as the word model's graph takes them; what is behind a text is padding."""
    words = [text.split() for text in texts]
    input_ids = np.zeros((len(texts), max(map(len, words))), np.int64)
    for row, text in zip(input_ids, words, strict=True):
        row[: len(text)] = [list(WORDS).index(word) for word in text]
    return input_ids, np.array([len(text) for text in words], np.int64)


def character_tensors(text: str) -> dict[str, NDArray[Any]]:
    """The summing model's graph from its beginning, one row."""
    return {"input_ids": ids_of(text)[None], "lengths": np.array([len(text)]), "state": np.zeros((1, 1), np.float32)}


def tensor(name: str, datatype: str, array: NDArray[Any], **changes: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()} | changes


def text_input(*texts: str) -> dict[str, Any]:
    return {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}


def words_request(*texts: str) -> dict[str, Any]:
    input_ids, lengths = word_ids(*texts)
    return {"inputs": [tensor("input_ids", "INT64", input_ids), tensor("lengths", "INT64", lengths)]}


def send_binary(client: TestClient, url: str, head: dict[str, Any] | bytes, *blobs: bytes, **headers: str) -> Response:
    """JSON and blobs in one body."""
    content = head if isinstance(head, bytes) else json.dumps(head).encode()
    return client.post(url, content=content + b"".join(blobs), headers={JSON_BYTES: str(len(content))} | headers)


def assert_refused(response: Response, status: int, says: str = "") -> None:
    """A status, one sentence, and nothing else; our own words."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert "content-encoding" not in response.headers
    body = response.json()
    assert set(body) == {"error"}, body
    assert isinstance(body["error"], str)
    assert says in body["error"], body["error"]
    assert not LIBRARY_TEXT.search(body["error"]), body["error"]
    assert len(body["error"]) < 400
