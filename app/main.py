"""The application: settings in, FastAPI out. Nothing global."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from app import __version__, tasks
from app.api import health, metrics, models, open_inference, web
from app.api.cors import Cors
from app.api.documentation import describe_keys
from app.api.error_handlers import install_error_handlers, internal_error
from app.api.gate import HEALTH, Gate
from app.api.head import HeadAsGet
from app.api.rate_limit import RateLimit
from app.api.security_headers import SecurityHeaders
from app.api.state import Incoming, State
from app.observability import RequestContext
from app.observability.telemetry import telemetry
from app.runtime.cores import available_cores
from app.runtime.loader import ModelLoader
from app.runtime.metrics import ServingMetrics
from app.runtime.options import GenerationOptions, Limits, RuntimeOptions
from app.runtime.repository import ModelRepository
from app.runtime.run_threads import RunThreads
from app.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

LOADING_S = 1  # at the stop, for the start's task, which has heard of it
TRACES_S = 2  # at the stop, for a collector that does not answer

DESCRIPTION = """Trained models over REST: each operation below has an example that works from **Try it out**; only to load and to unload
a model takes the admin key.

`GET /v1/models/{name}` is a model's card: what it was trained on, how good it is, and what it is not for."""


def create_app(settings: Settings, traces: TracerProvider | None = None, settle: Callable[[], object] = gc.collect) -> FastAPI:
    """The server for one set of settings. Models load after start: `/health/ready` says when they are warm.

    `traces` is where spans go instead of where AXON_TRACES sends them; it is shut down with the server. `settle` is called
    when models came or went.
    """
    provider = traces or make_tracer_provider(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        serving_metrics = ServingMetrics()
        cores = settings.cores or available_cores()
        with RunThreads(settings.device().threads(cores), settings.stuck_run_timeout_ms / 1000) as executor:
            repository = make_repository(settings, executor, cores, serving_metrics, settle)
            loading = asyncio.create_task(repository.start())
            yield State(
                settings=settings,
                repository=repository,
                metrics=serving_metrics,
                admin_digest=settings.admin_digest(),
                incoming=Incoming(settings.max_incoming_bytes),
                draining=False,
            )
            repository.stop_loading()
            await asyncio.wait([loading], timeout=LOADING_S)
            await repository.drain(0)  # whoever serves the application has waited for its requests
        if provider is not None:
            await send_rest(provider)

    app = FastAPIOffline(
        title="Axon",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=telemetry(provider, HEALTH),
    )
    guard(app, settings)
    install_error_handlers(app)
    shared = (models.router, open_inference.router, health.router, metrics.router, web.router)
    for router in (*(task.router for task in tasks.discover()), *shared):
        app.include_router(router)
    app.mount("/web", web.static_files)
    return app


def make_tracer_provider(settings: Settings) -> TracerProvider | None:
    """None unless AXON_TRACES is on: OpenTelemetry's SDK is an extra."""
    if not settings.traces:
        return None
    from app.observability.tracing import otlp_exporter, tracer_provider

    return tracer_provider(otlp_exporter())


async def send_rest(provider: TracerProvider) -> None:
    """The spans that have not been sent yet, as far as the collector takes them in time."""
    sending = threading.Thread(target=provider.shutdown, name="axon-traces", daemon=True)
    sending.start()
    await asyncio.to_thread(sending.join, TRACES_S)


def guard(app: FastAPI, settings: Settings) -> None:
    """What a request passes before it reaches a route: each added line is outside of those before it."""
    keys = settings.client_keys()
    app.add_middleware(HeadAsGet)
    app.add_middleware(web.WholeFiles)
    if settings.rate_limit_per_minute is not None:
        app.add_middleware(RateLimit, per_minute=settings.rate_limit_per_minute)
    if keys:
        app.add_middleware(Gate, keys=keys, admin=settings.admin_digest(), public_pages=settings.public_pages)
        describe_keys(app)
    failed: ASGIApp = internal_error
    if settings.cors_origins:
        app.add_middleware(Cors, origins=settings.cors_origins)  # outside of the gate: a browser's preflight has no key
        failed = Cors(failed, settings.cors_origins)  # a page may read of a bug too
    app.add_middleware(RequestContext, internal_error=failed)
    app.add_middleware(SecurityHeaders)


def make_repository(
    settings: Settings, executor: Executor, cores: int, serving_metrics: ServingMetrics, settle: Callable[[], object] = gc.collect
) -> ModelRepository:
    """One budget of cores for all models: on a CPU as many single-threaded runs at once, on a GPU one run at a time.

    A model that generates has one run at a time, over all cores.
    """
    options = RuntimeOptions(
        device=settings.device(),
        cores=cores,
        max_queue_size=settings.max_queue_size,
        max_queue_bytes=settings.max_queue_bytes,
        stuck_run_timeout_s=settings.stuck_run_timeout_ms / 1000,
        load_timeout_s=settings.load_timeout_ms / 1000,
        limits=Limits(settings.max_image_pixels, settings.max_text_chars, settings.max_texts),
        generation=GenerationOptions(
            max_live_sequences=settings.max_live_sequences,
            max_waiting_sequences=settings.max_waiting_sequences,
            prefill_chunk_tokens=settings.prefill_chunk_tokens,
        ),
    )
    pipelines = {task.Pipeline.task: task.Pipeline for task in tasks.discover()}
    return ModelRepository(ModelLoader(settings.models, pipelines, executor, serving_metrics, options), serving_metrics, settle)
