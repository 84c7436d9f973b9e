"""Whether a model's runs come back. After one that did not, the model is tried again and again until one does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context

from app.errors import RunStuck

logger = logging.getLogger("axon.runs")

PAUSE_FACTOR = 2  # between two trials: the second pause is twice the first, and so on
MAX_PAUSE_S = 60.0


class RunHealth:
    """A balancer sends no requests to a server that is not ready, so their runs cannot show that it is well again."""

    def __init__(self, name: str, trial: Callable[[], object], executor: Executor, count_stuck: Callable[[], None], pause_s: float) -> None:
        """`trial` runs the model; it is called in `executor`, for the first time after `pause_s`."""
        self.problem: str | None = None  # why the model is not well, for an operator
        self._name = name
        self._trial = trial
        self._executor = executor
        self._count_stuck = count_stuck
        self._pause_s = min(pause_s, MAX_PAUSE_S)
        self._trying: asyncio.Task[None] | None = None

    def succeeded(self) -> None:
        """A run came back."""
        if self.problem is not None:
            logger.info("%s: runs come back again", self._name)
            self.problem = None
        if self._trying is not None:
            self._trying.cancel()
            self._trying = None

    def failed(self, error: Exception) -> None:
        """Some work of the model failed. Called on the event loop."""
        if not isinstance(error, RunStuck):
            return
        self._count_stuck()
        logger.error("%s: %s", self._name, error.message)
        self.problem = f"{error.message}; it is tried again until a run comes back"
        if self._trying is None:
            self._trying = asyncio.get_running_loop().create_task(self._try(), context=Context())

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
                    self._count_stuck()
            else:
                self._trying = None
                self.succeeded()
                return
