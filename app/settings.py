"""Every setting of the server. Each is an environment variable AXON_<NAME>; the unit stands in the name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, DirectoryPath, Field, FilePath, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.contract.manifest import NAME_PATTERN
from app.keys import ApiKey, check_admin_key, digest_of, holder_of, parse_keys
from app.runtime.device import Device

DEFAULT_PORT = 8000
MAX_MS = 86_400_000  # a day; from 2**31 on timers fail

_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?|\*")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError("must be a file of text that can be read") from None


def _holds_a_key(path: Path) -> Path:
    check_admin_key(_read(path).strip())
    return path


def _is_an_address(host: str) -> str:
    if not re.fullmatch(r"\S+", host):
        raise ValueError("must be an address to listen on, without blanks: 127.0.0.1, or 0.0.0.0 for all")
    return host


def _is_named(folder: Any) -> Any:
    """An empty path is the current folder to the system; Docker Compose writes an empty variable where none was set."""
    if isinstance(folder, str) and not folder.strip():
        raise ValueError("must not be empty: name a folder, or leave the setting out")
    return folder


def _is_readable(models: Path) -> Path:
    """It may come later; but where it is there, it must be a folder of which the names can be read."""
    try:
        next(models.iterdir(), None)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ValueError(f"must be a folder that can be read: {error.strerror}") from None
    return models


def _holds_keys(keys: SecretStr) -> SecretStr:
    parse_keys(keys.get_secret_value())
    return keys


def _split(values: Any) -> Any:
    return [value.strip() for value in values.split(",")] if isinstance(values, str) else values


def _are_origins(written: tuple[str, ...]) -> tuple[str, ...]:
    """As browsers send them: in small letters, without the port that goes without saying."""
    origins = tuple(re.sub(r"^(http://.*):80$|^(https://.*):443$", r"\1\2", origin.lower()) for origin in written)
    if not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError("must be origins with commas between them, https://example.org for instance, or *: no path, no slash at the end")
    return origins


def _are_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(re.fullmatch(NAME_PATTERN, name) for name in names):
        raise ValueError("must be names of models with commas between them")
    return names


def _no_link(port: Any) -> Any:
    """Kubernetes sets AXON_PORT=tcp://10.0.0.1:8000 beside a Service that is called axon: that is no choice of anybody's."""
    return DEFAULT_PORT if isinstance(port, str) and port.startswith("tcp://") else port


def _has_tracing(wanted: bool) -> bool:
    if wanted:
        try:
            find_spec("opentelemetry.exporter.otlp.proto.http")
        except ModuleNotFoundError:
            raise ValueError("needs the extra axon[otel], which is not installed here") from None
    return wanted


AdminKeyFile = Annotated[FilePath, AfterValidator(_holds_a_key)]
ApiKeys = Annotated[SecretStr, AfterValidator(_holds_keys)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_are_names)]
Origins = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_are_origins)]
Traces = Annotated[bool, AfterValidator(_has_tracing)]


class Settings(BaseSettings):
    """Read once at start. README.md lists them; a test holds the two together."""

    model_config = SettingsConfigDict(
        env_prefix="AXON_", frozen=True, extra="ignore", hide_input_in_errors=True, enable_decoding=False
    )  # decoding: a list would be read as JSON, and null as not set

    host: Annotated[str, AfterValidator(_is_an_address)] = Field(default="127.0.0.1", description="address to listen on")
    port: Annotated[int, BeforeValidator(_no_link)] = Field(
        default=DEFAULT_PORT, ge=0, le=65535, description="port to listen on; 0 takes a free one"
    )
    models: Annotated[Path, BeforeValidator(_is_named), AfterValidator(_is_readable)] = Field(
        default=Path("models"), validate_default=True, description="the model repository"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="form of the log lines")
    traces: Traces = Field(default=False, description="send OpenTelemetry traces, to where its own OTEL_* variables say")
    api_keys: ApiKeys | None = Field(default=None, description="keys with commas between them: all but health then needs one of them")
    api_keys_file: FilePath | None = Field(default=None, description="file with such keys, one a line; keys of both settings are valid")
    admin_key_file: AdminKeyFile | None = Field(
        default=None, description="file with the key that loads and unloads models; without it nobody can"
    )
    public_pages: bool = Field(default=False, description="show the demo page and the documentation without a key")
    rate_limit_per_minute: int | None = Field(
        default=None, ge=1, le=1_000_000, description="requests a minute of one key, or without keys of one address; beyond, 429"
    )
    cors_origins: Origins | None = Field(
        default=None, description="origins whose pages may ask from a browser, with commas between them; * is any"
    )
    provider: Literal["cpu", "cuda", "tensorrt"] = Field(default="cpu", description="ONNX Runtime execution provider")
    strict_provider: bool = Field(default=False, description="refuse to serve a model on another provider than asked for")
    cpu_models: Names | None = Field(
        default=None, description="models that stay on the processor where the others have a GPU, with commas between them"
    )
    gpu_precision: Literal["fp32", "tf32", "fp16"] = Field(
        default="fp32", description="arithmetic on a GPU; below fp32 answers are only close"
    )
    gpu_batch_size: int | None = Field(default=None, ge=1, le=1024, description="most rows of a run on a GPU, for the manifest's number")
    gpu_memory_bytes: int | None = Field(default=None, ge=1, description="memory of the GPU that one model's arena may hold")
    tensorrt_cache: Annotated[DirectoryPath, BeforeValidator(_is_named)] | None = Field(
        default=None, description="folder for TensorRT's engines; else each start builds them"
    )
    strict_readiness: bool = Field(default=True, description="ready only when no model was refused, as Triton does")
    cores: int | None = Field(default=None, ge=1, description="processors to use; by default those of the cpuset and the quota")
    max_queue_size: int = Field(default=1024, ge=1, description="rows that may wait, a model; beyond, 429")
    max_queue_bytes: int = Field(default=256 * 1024 * 1024, ge=1, description="bytes that waiting requests may hold, a model; beyond, 429")
    request_timeout_ms: int = Field(default=30_000, ge=1, le=MAX_MS, description="deadline of a request that names none")
    stuck_run_timeout_ms: int = Field(
        default=60_000, ge=10, le=MAX_MS, description="a run that takes longer is given up, and the server is not ready"
    )
    load_timeout_ms: int = Field(default=600_000, ge=10, le=MAX_MS, description="a model that loads for longer is given up and refused")
    drain_timeout_ms: int = Field(default=20_000, ge=0, le=MAX_MS, description="time for accepted requests to finish at shutdown")
    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1, description="largest request body")  # a 36-megapixel JPEG fits
    max_incoming_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1,
        description="bytes of all bodies that are being received, without the first 64 KB of each; beyond, 429",
    )
    max_json_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1, description="largest JSON body, but for one that carries a picture; send larger tensors as bytes"
    )
    max_image_pixels: int = Field(default=40_000_000, ge=1, description="largest picture, in pixels")
    max_text_chars: int = Field(default=50_000, ge=1, description="longest text, in characters")  # the longest IMDB review has 14,000
    max_texts: int = Field(default=64, ge=1, description="most texts in one request")
    max_live_sequences: int = Field(default=64, ge=1, description="texts that a model generates at once")
    max_waiting_sequences: int = Field(default=256, ge=0, description="texts that may wait for that, a model; beyond, 429")
    max_generated_tokens: int = Field(default=4096, ge=1, description="longest text that is generated, in tokens")
    max_request_tokens: int = Field(default=131_072, ge=1, description="most tokens that one request reads and generates")
    prefill_chunk_tokens: int = Field(default=64, ge=1, description="tokens of a prompt that are read between two steps of the others")
    stream_ping_ms: int = Field(default=15_000, ge=1, le=MAX_MS, description="a stream that is silent for so long sends a comment")

    @field_validator("api_keys_file")
    @classmethod
    def _are_keys(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None:
            parse_keys(_read(path))
            _all_keys(info.data.get("api_keys"), path)
        return path

    @field_validator("admin_key_file")
    @classmethod
    def _is_no_api_key(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        keys = _all_keys(info.data.get("api_keys"), info.data.get("api_keys_file"))
        if path is not None and holder_of(_read(path).strip().encode(), keys) is not None:
            raise ValueError("must hold a key of its own: this one is an API key")
        return path

    def device(self) -> Device:
        """What models run on."""
        return Device(
            provider=self.provider,
            strict=self.strict_provider,
            precision=self.gpu_precision,
            memory_bytes=self.gpu_memory_bytes,
            batch_size=self.gpu_batch_size,
            engine_cache=self.tensorrt_cache,
            cpu_models=frozenset(self.cpu_models or ()),
        )

    def client_keys(self) -> tuple[ApiKey, ...]:
        """Of AXON_API_KEYS and of AXON_API_KEYS_FILE; none where neither is set."""
        return _all_keys(self.api_keys, self.api_keys_file)

    def admin_digest(self) -> bytes | None:
        """Of the key in AXON_ADMIN_KEY_FILE, without the line's end."""
        return None if self.admin_key_file is None else digest_of(_read(self.admin_key_file).strip().encode())


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Those that look like a setting and are none: a slip, as a rule. AXON_DATA is the training's; Kubernetes names a service's ports.

    Small letters are read as large ones.
    """
    known = {f"AXON_{name.upper()}" for name in Settings.model_fields} | {"AXON_DATA"}
    foreign = ("AXON_SERVICE_", "AXON_PORT_")
    names = {name: name.upper() for name in environment}
    return sorted(
        name for name, upper in names.items() if upper.startswith("AXON_") and upper not in known and not upper.startswith(foreign)
    )


def _all_keys(keys: SecretStr | None, file: Path | None) -> tuple[ApiKey, ...]:
    """They are numbered through. Raises ValueError for one that is in both."""
    texts = [keys.get_secret_value()] if keys is not None else []
    texts += [_read(file)] if file is not None else []
    return parse_keys("\n".join(texts)) if texts else ()
