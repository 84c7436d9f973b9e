"""Valid requests to every model that a server has: what mutations start from, and what the soak asks."""

from __future__ import annotations

import base64
import gzip
import io
import json
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

DTYPES = {"UINT8": np.uint8, "INT64": np.int64, "FP32": np.float32, "BOOL": np.bool_}
SIDE_PX = 40
BOUNDARY = b"a-boundary"
JSON_BYTES = "Inference-Header-Content-Length"
GETS = (
    "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/", "/web/axon.js",
    "/v1/models", "/v2", "/v2/models", "/v2/models/stats", "/v2/health/live", "/v2/health/ready",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """`kind` says what the body is, so that it can be broken as such: json, form, image, tensors or none."""

    kind: str
    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""

    def encoded(self, *, with_length: bool = True) -> bytes:
        """As bytes on the wire; without its Content-Length, for a body in chunks."""
        headers = (*self.headers, (b"Content-Length", str(len(self.body)).encode())) if with_length and self.body else self.headers
        return self.head(*headers) + self.body

    def head(self, *headers: tuple[bytes, bytes]) -> bytes:
        lines = [b"%s %s HTTP/1.1" % (self.method, self.target), b"Host: 127.0.0.1", *(b"%s: %s" % header for header in headers)]
        return b"\r\n".join([*lines, b"", b""])

    def having(self, *headers: tuple[bytes, bytes]) -> Request:
        return replace(self, headers=(*self.headers, *headers))


def post(kind: str, target: str, content_type: str, body: bytes, **headers: str) -> Request:
    given = {"Content-Type": content_type} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(kind, b"POST", target.encode(), tuple((name.encode(), value.encode()) for name, value in given.items() if value), body)


def post_json(target: str, fields: Any, **headers: str) -> Request:
    return post("json", target, "application/json", json.dumps(fields).encode(), **headers)


def form(image: bytes, **fields: str) -> bytes:
    """multipart/form-data with a file in `image`, and fields."""
    parts = [b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + image]
    parts += [b'Content-Disposition: form-data; name="%s"\r\n\r\n%s' % (name.encode(), value.encode()) for name, value in fields.items()]
    return b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY, part) for part in parts) + b"--%s--\r\n" % BOUNDARY


def pictures() -> dict[str, list[bytes]]:
    """Encoded pictures of every kind that Pillow makes, by media type; GIF is one that the server refuses."""
    y, x = np.mgrid[0:SIDE_PX, 0 : SIDE_PX + 8]
    rgb = Image.fromarray(np.stack([x * 5, y * 6, (x * y) % 256], axis=-1).astype(np.uint8))
    alpha = Image.fromarray(np.dstack([np.asarray(rgb), (x * 5).astype(np.uint8)]))
    deep = Image.fromarray((x * 1300).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    more: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(90)]}
    return {
        "image/png": [
            *(_encoded(each, "PNG") for each in (rgb, alpha, deep, rgb.convert("P"), rgb.convert("1"), rgb.convert("LA"))),
            _encoded(rgb, "PNG", exif=exif),
            _encoded(rgb, "PNG", **more),
        ],
        "image/jpeg": [
            *(_encoded(each, "JPEG") for each in (rgb, rgb.convert("L"), rgb.convert("CMYK"))),
            _encoded(rgb, "JPEG", progressive=True),
            _encoded(rgb, "JPEG", exif=exif, comment=b"a comment"),
            _encoded(rgb, "MPO", **more),
        ],
        "image/webp": [_encoded(rgb, "WEBP"), _encoded(alpha, "WEBP", lossless=True), _encoded(rgb, "WEBP", **more)],
        "image/gif": [_encoded(rgb, "GIF"), _encoded(rgb, "GIF", **more)],
    }


def _encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def requests_of(address: str) -> list[Request]:
    """Of every model that this server has, of every face of it."""
    models = _get(f"{address}/v1/models")["data"]
    found = [Request("none", b"GET", target.encode()) for target in GETS]
    found.append(post_json("/v2/repository/index", {"ready": True}))
    for model in models:
        name, task = model["id"], model["task"]
        card = _get(f"{address}/v1/models/{name}")["card"]
        found += [Request("none", b"GET", f"/v1/models/{name}".encode())]
        found += [Request("none", b"GET", f"/v2/models/{name}{end}".encode()) for end in ("", "/ready", "/config", "/stats", "/versions/1")]
        found += [post_json(f"/v2/repository/models/{name}/{change}", {}) for change in ("load", "unload")]
        found += list(_BY_TASK[task](f"/v1/{task}/{name}", card)) if task in _BY_TASK else []
        found += list(_tensors(name, task, _get(f"{address}/v2/models/{name}")))
    return found


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def _of_pictures(url: str, options: dict[str, str], accepts: list[str]) -> Iterator[Request]:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    for media_type, files in pictures().items():
        for number, file in enumerate(files):
            yield post("image", f"{url}?{query}" if number % 2 else url, media_type, file, Accept=accepts[number % len(accepts)])
    png = pictures()["image/png"][0]
    yield post("form", url, f"multipart/form-data; boundary={BOUNDARY.decode()}", form(png, **options))
    yield post_json(url, {"image": base64.b64encode(png).decode()} | options)
    yield post_json(url, {"image": "data:image/png;base64," + base64.b64encode(png).decode()})


def _classified_pictures(url: str, card: dict[str, Any]) -> Iterator[Request]:
    target = card["default_target"]
    yield from _of_pictures(url, {"target": target, "threshold": "0.5", "augment": "true", "top_k": "2"}, ["*/*"])
    yield Request("none", b"GET", f"{url}/roc?target={target}".encode())


def _drawings(url: str, card: dict[str, Any]) -> Iterator[Request]:
    condition = card["condition"]
    options = {condition["option"]: condition["choices"][-1]["name"]} if condition else {}
    yield from _of_pictures(url, options | {"max_side_px": "32"}, ["image/png", "image/webp", "image/jpeg;q=0.5, application/json", "*/*"])


def _classified_texts(url: str, card: dict[str, Any]) -> Iterator[Request]:
    yield post_json(url, {"text": "Not bad at all."})
    yield post_json(url, {"text": ["A film to remember.", "", "\N{GRINNING FACE} good"], "explain": True})


def _written_texts(url: str, card: dict[str, Any]) -> Iterator[Request]:
    name, prompt = card["name"], card["processor"]["characters"][-2:]
    fields: dict[str, Any] = {"prompt": prompt, "max_tokens": 24, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": 1, "stop": [prompt]}
    openai = {"model": name, "prompt": [prompt, prompt], "max_tokens": 12, "n": 2, "logprobs": 2, "echo": True, "logit_bias": {"1": 2}}
    penalties = {"presence_penalty": 0.5, "frequency_penalty": 0.5, "repetition_penalty": 1.1, "min_p": 0.01, "top_k": 4}
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    yield post_json(url, fields)
    yield post_json(url, fields | {"stream": True, "max_tokens": 100})
    yield post_json("/v1/completions", openai | penalties)
    yield post_json("/v1/completions", openai | streamed)
    yield post_json("/v1/completions", {"model": f"{name}@1", "prompt": [[1, 2], [0]], "max_tokens": 200, "stop": ["a", "b"], "best_of": 3})
    triton = {"text_input": prompt, "parameters": {"max_tokens": 20, "seed": 1, "stop": "x"}, "id": "7"}
    for operation in ("generate", "generate_stream"):
        yield post_json(f"/v2/models/{name}/{operation}", triton)
        yield post_json(f"/v2/models/{name}/versions/1/{operation}", triton)


_BY_TASK = {
    "image-classification": _classified_pictures,
    "image-to-image": _drawings,
    "text-classification": _classified_texts,
    "text-generation": _written_texts,
}


def _tensors(name: str, task: str, metadata: dict[str, Any]) -> Iterator[Request]:
    """The protocol's own requests: a row of each graph's inputs as JSON and as bytes, and encoded pictures or texts."""
    url = f"/v2/models/{name}/infer"
    arrays = {spec["name"]: _row(spec) for spec in metadata["inputs"]}
    inputs = [{"name": each, "datatype": kind, "shape": list(array.shape)} for each, (kind, array) in arrays.items()]
    as_json = {"id": "7", "inputs": [entry | {"data": arrays[entry["name"]][1].ravel().tolist()} for entry in inputs]}
    blobs = [array.tobytes() for _, array in arrays.values()]
    sized = [entry | {"parameters": {"binary_data_size": len(blob)}} for entry, blob in zip(inputs, blobs, strict=True)]
    outputs = [{"name": metadata["outputs"][0]["name"], "parameters": {"binary_data": True}}]
    yield post("json", url, "", json.dumps(as_json).encode())
    yield post(
        "tensors", url, "application/json", gzip.compress(json.dumps(as_json).encode()), Content_Encoding="gzip", Accept_Encoding="gzip"
    )
    yield binary(url, {"inputs": sized, "outputs": outputs}, *blobs)
    yield binary(f"/v2/models/{name}/versions/1/infer", {"inputs": sized, "parameters": {"binary_data_output": True}}, *blobs)
    packed = binary(url, {"inputs": sized, "parameters": {"timeout": 4_000_000}}, *blobs)
    yield replace(packed, body=zlib.compress(packed.body)).having((b"Content-Encoding", b"deflate"))
    if len(blobs) == 1:
        yield post("tensors", url, "application/octet-stream", blobs[0], Inference_Header_Content_Length="0")
    if task.startswith("image"):
        yield encoded(url, "image", *(files[0] for files in pictures().values()))
        yield encoded(url, "image", pictures()["image/png"][0])
    if task == "text-classification":
        yield encoded(url, "text", b"Not bad at all.", "sch\N{LATIN SMALL LETTER O WITH DIAERESIS}n".encode(), b"")
        yield post_json(url, {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Not bad."]}]})


def _row(spec: dict[str, Any]) -> tuple[str, np.ndarray[Any, Any]]:
    """(datatype, zeros, but for lengths) of a graph's input."""
    is_picture = len(spec["shape"]) == 4
    shape = [1, *((16 if is_picture else 3) if size < 0 else size for size in spec["shape"][1:])]
    array = np.zeros(shape, DTYPES[spec["datatype"]])
    if spec["name"] == "lengths":
        array[:] = 3
    if spec["name"] == "condition":
        array[..., 0] = 1
    return spec["datatype"], array


def binary(url: str, head: dict[str, Any], *blobs: bytes) -> Request:
    content = json.dumps(head).encode()
    return post("tensors", url, "application/octet-stream", content + b"".join(blobs), **{JSON_BYTES: str(len(content))})


def encoded(url: str, name: str, *files: bytes) -> Request:
    blob = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    entry = {"name": name, "datatype": "BYTES", "shape": [len(files)], "parameters": {"binary_data_size": len(blob)}}
    return binary(url, {"inputs": [entry]}, blob)
