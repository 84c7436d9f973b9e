"""Whether a model's runs come back. After one that did not, the model is tried again and again until one does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context

from app.errors import RunStuck
from app.runtime.metrics import ModelMetrics

logger = logging.getLogger("axon.runs")

PAUSE_FACTOR = 2  # between two trials: the second pause is twice the first, and so on
MAX_PAUSE_S = 60.0


class RunHealth:
    """A balancer sends no requests to a server that is not ready, so their runs cannot show that it is well again."""

    def __init__(self, name: str, trial: Callable[[], object], executor: Executor, metrics: ModelMetrics, pause_s: float) -> None:
        """`trial` runs the model; it is called in `executor`, for the first time after `pause_s`."""
        self.problem: str | None = None  # why the model is not well, for an operator
        self._name = name
        self._trial = trial
        self._executor = executor
        self._metrics = metrics
        self._pause_s = min(pause_s, MAX_PAUSE_S)
        self._trying: asyncio.Task[None] | None = None
        self._closed = False

    def succeeded(self) -> None:
        """A run came back."""
        if self.problem is not None:
            logger.info("%s: runs come back again", self._name)
            self.problem = None
            self._show_ready(True)
        self._stop_trying()

    def failed(self, error: Exception) -> None:
        """Some work of the model failed. Called on the event loop."""
        if not isinstance(error, RunStuck):
            return
        self._metrics.stuck_runs.inc()
        logger.error("%s: %s", self._name, error.message)
        self.problem = f"{error.message}; it is tried again until a run comes back"
        self._show_ready(False)
        if self._trying is None and not self._closed:
            self._trying = asyncio.get_running_loop().create_task(self._try(), context=Context())

    def close(self) -> None:
        """The model is handed out no more: nobody waits for it to be well, and the metric is its successor's."""
        self._closed = True
        self._stop_trying()

    def _show_ready(self, is_ready: bool) -> None:
        if not self._closed:
            self._metrics.ready.set(is_ready)

    def _stop_trying(self) -> None:
        if self._trying is not None:
            self._trying.cancel()
            self._trying = None

    async def _try(self) -> None:
        pause_s = self._pause_s
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * PAUSE_FACTOR, MAX_PAUSE_S)
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, self._trial)
            except Exception as error:
                logger.warning("%s: a trial failed: %s", self._name, error)
                if isinstance(error, RunStuck):
                    self._metrics.stuck_runs.inc()
            else:
                self._trying = None
                self.succeeded()
                return
