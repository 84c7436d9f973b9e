"""Every setting of the server. Each is an environment variable AXON_<NAME>; the unit stands in the name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FilePath
from pydantic_settings import BaseSettings, SettingsConfigDict

MIN_KEY_BYTES = 16


def _holds_a_key(path: Path) -> Path:
    try:
        size = len(path.read_bytes().strip())
    except OSError:
        raise ValueError("must be a file that can be read") from None
    if size < MIN_KEY_BYTES:
        raise ValueError(f"must hold a key of at least {MIN_KEY_BYTES} bytes")
    return path


KeyFile = Annotated[FilePath, AfterValidator(_holds_a_key)]


class Settings(BaseSettings):
    """Read once at start. README.md lists them; a test holds the two together."""

    model_config = SettingsConfigDict(env_prefix="AXON_", frozen=True, extra="ignore")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    models: Path = Field(default=Path("models"), description="the model repository")
    log_format: Literal["text", "json"] = Field(default="text", description="form of the log lines")
    admin_key_file: KeyFile | None = Field(
        default=None, description="file with the key that loads and unloads models; without it nobody can"
    )
    provider: Literal["cpu", "cuda", "tensorrt"] = Field(default="cpu", description="ONNX Runtime execution provider")
    strict_provider: bool = Field(default=False, description="refuse to serve a model on another provider than asked for")
    strict_readiness: bool = Field(default=True, description="ready only when no model was refused, as Triton does")
    cores: int | None = Field(default=None, ge=1, description="processors to use; by default those of the cpuset and the quota")
    max_queue_size: int = Field(default=1024, ge=1, description="rows that may wait, a model; beyond, 429")
    request_timeout_ms: int = Field(default=30_000, ge=1, description="deadline of a request that names none")
    drain_timeout_ms: int = Field(default=20_000, ge=0, description="time for accepted requests to finish at shutdown")
    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1, description="largest request body")  # a 36-megapixel JPEG fits
    max_image_pixels: int = Field(default=40_000_000, ge=1, description="largest picture, in pixels")
    max_text_chars: int = Field(default=50_000, ge=1, description="longest text, in characters")  # the longest IMDB review has 14,000
    max_texts: int = Field(default=64, ge=1, description="most texts in one request")
    max_live_sequences: int = Field(default=64, ge=1, description="texts that a model generates at once")
    max_waiting_sequences: int = Field(default=256, ge=0, description="texts that may wait for that, a model; beyond, 429")
    max_generated_tokens: int = Field(default=4096, ge=1, description="longest text that is generated, in tokens")
    max_request_tokens: int = Field(default=131_072, ge=1, description="most tokens that one request reads and generates")
    prefill_chunk_tokens: int = Field(default=64, ge=1, description="tokens of a prompt that are read between two steps of the others")
    stream_ping_ms: int = Field(default=15_000, ge=1, description="a stream that is silent for so long sends a comment")
