"""Continuous batching: texts of any length share every step, and a new one joins between two of them.

Between two runs the batcher drops what nobody waits for any more, admits what waits, and then either reads the next
chunk of the new prompts or makes a burst of steps for the live sequences, in turns: neither keeps the other waiting.
A burst ends early when a request comes or a client leaves. Its tokens are handed over together, so the event loop
wakes once a burst and not once a token.

Everything but the runs themselves happens on the event loop, so there are no locks.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import Context
from typing import Literal, Protocol

from app.errors import DeadlineExceeded, InputTooLarge, ModelNotReady, QueueFull, RunStuck
from app.runtime.batcher import MAX_QUEUE_BYTES, MAX_RETRY_AFTER_S, SMOOTHING
from app.runtime.metrics import ModelMetrics, Share
from app.runtime.session import RunStopped
from app.runtime.slots import GenerationRequest, Progress, Row, Slots, Tokens

logger = logging.getLogger("axon.generation")

FinishReason = Literal["stop", "length"]

BURST_S = 0.016  # a picture of a screen at 60 Hz: text that comes in smaller pieces looks no smoother
BURST_S_PER_SEQUENCE = 0.0005  # about ten times what it costs to hand over a piece: 32 ms for 32 sequences
STEPS_BESIDE_PROMPTS = 4  # of the live sequences, between two chunks of prompts
PROMPTS_AT_ONCE = 8  # a chunk of so many costs the live sequences a pause of about 20 ms
STOP_S = 1.0  # for a run that was told to stop
FIRST_GUESS_TOKEN_S = 0.0002  # before anything was measured


class TokenSink(Protocol):
    """Where a sequence's tokens go. Called on the event loop."""

    def put_prompt(self, tokens: Tokens) -> None:
        """The next tokens of a prompt that is scored."""
        ...

    def put(self, tokens: Tokens) -> bool:
        """The next tokens of the text. True: it ends with one of these, no more are wanted."""
        ...

    def end(self, reason: FinishReason) -> None: ...

    def fail(self, error: Exception) -> None: ...


class LiveSequence:
    """A text on its way through the batcher. `cancel` frees its place after the step that runs, or in its midst."""

    def __init__(self, row: Row, sink: TokenSink, deadline: float | None, on_leave: Callable[[], None]) -> None:
        self.row = row
        self.left = row.request.max_tokens
        self.done = False
        self.submitted_at = self.admitted_at = time.monotonic()  # it waits until the second
        self._sink = sink
        self._deadline = deadline
        self._on_leave = on_leave
        self._expiry = None if deadline is None else asyncio.get_running_loop().call_later(deadline - self.submitted_at, self._expire)

    @property
    def nbytes(self) -> int:
        return self.row.request.input_ids.nbytes + self.row.state.nbytes

    @property
    def tokens_left(self) -> int:
        return self.left + len(self.row.request.input_ids) - self.row.read

    def cancel(self) -> None:
        if not self.done:
            self._finish()
            self._on_leave()

    def fail(self, error: Exception) -> None:
        if not self.done:
            self._finish()
            self._sink.fail(error)

    def check_deadline(self, now: float) -> None:
        if self._deadline is not None and now >= self._deadline:
            self.fail(DeadlineExceeded())

    def take(self, progress: Progress) -> int:
        """Hand over what a run brought; how many tokens of the text that was."""
        count = 0
        if progress.prompt is not None:
            self._sink.put_prompt(progress.prompt)
        if progress.generated is not None:
            count = len(progress.generated.ids)
            self.left -= count
            if self._sink.put(progress.generated):
                self._end("stop")
        if self.row.is_read and self.left == 0 and not self.done:
            self._end("length")
        return count

    def _end(self, reason: FinishReason) -> None:
        self._finish()
        self._sink.end(reason)

    def _expire(self) -> None:
        """The deadline, in the midst of a run."""
        self.fail(DeadlineExceeded())
        self._on_leave()

    def _finish(self) -> None:
        self.done = True
        if self._expiry is not None:
            self._expiry.cancel()


class ContinuousBatcher:
    """Runs the sequences of one model: so many at once as there are slots, `max_waiting` more in a queue, beyond QueueFull.

    All of them hold at most `max_bytes`.
    """

    def __init__(
        self,
        name: str,
        slots: Slots,
        executor: Executor,
        metrics: ModelMetrics,
        *,
        max_waiting: int,
        max_bytes: int = MAX_QUEUE_BYTES,
        observe: Callable[[Exception | None], None] = lambda error: None,
    ) -> None:
        """`observe` hears of each run: None, or why it failed."""
        self.name = name
        self.slots = slots
        self._executor = executor
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._observe = observe
        self._waiting: deque[LiveSequence] = deque()
        self._reading: list[LiveSequence] = []  # admitted, the prompt not read to its end
        self._stepping: list[LiveSequence] = []  # in the order of slots.live
        self._running: list[LiveSequence] = []  # in the run that goes on
        self._read_last = False
        self._live_shown, self._waiting_shown = Share(metrics.live_sequences), Share(metrics.waiting_sequences)
        self._serving: asyncio.Task[None] | None = None
        self._accepting = True
        self._closed = False
        self._token_s = FIRST_GUESS_TOKEN_S

    def retry_after_s(self) -> int:
        """Whole seconds until what waits and runs is done at the measured pace, if no text stops early; between 1 and 120."""
        tokens = sum(sequence.tokens_left for sequence in self._all())
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(tokens * self._token_s)))

    def submit(self, work: Sequence[tuple[GenerationRequest, TokenSink]], deadline: float | None = None) -> list[LiveSequence]:
        """Queue texts, all or none. `deadline` is a time.monotonic() instant.

        Raises QueueFull, ModelNotReady, and InputTooLarge for more texts than an idle model would take.
        """
        self._check_room(len(work), sum(len(request.input_ids) for request, _ in work))  # before a state and a timer are made of each
        sequences = [LiveSequence(self.slots.row(request), sink, deadline, self._interrupt) for request, sink in work]
        self._waiting += sequences
        self.slots.interrupt()
        if self._serving is None or self._serving.done():
            self._serving = asyncio.get_running_loop().create_task(self._serve(), context=Context())  # of no one request
        return sequences

    def check_fits(self, count: int, tokens: int) -> int:
        """The bytes of so many texts, with so many tokens in their prompts. Raises InputTooLarge if an idle model would not take them."""
        room, nbytes = self.slots.capacity + self._max_waiting, self.slots.nbytes_of(count, tokens)
        if count > room:
            raise InputTooLarge(f"the request wants {count:,} texts at once, {self.name!r} takes {room:,}")
        if nbytes > self._max_bytes:
            raise InputTooLarge(f"the request has {nbytes:,} bytes, the queue of {self.name!r} holds {self._max_bytes:,}")
        return nbytes

    def stop_accepting(self) -> None:
        self._accepting = False

    async def drain(self, grace_s: float) -> None:
        """Refuse new work, finish what was accepted, and fail what is left after `grace_s` seconds."""
        self.stop_accepting()
        if self._serving is None or self._closed:
            return
        self._closed = True
        await asyncio.wait([self._serving], timeout=grace_s)
        for sequence in self._all():
            sequence.fail(ModelNotReady(f"{self.name!r} shut down before the text was complete"))
        self._interrupt()
        await asyncio.wait([self._serving], timeout=STOP_S)

    def _interrupt(self) -> None:
        """Somebody left: the burst ends early, and at once if nobody is left in it."""
        self.slots.interrupt()
        if self._running and all(sequence.done for sequence in self._running):
            self.slots.stop()

    def _check_room(self, count: int, tokens: int) -> None:
        if not self._accepting:
            raise ModelNotReady(f"{self.name!r} is shutting down; send the request to another instance")
        nbytes = self.check_fits(count, tokens)
        accepted = [sequence for sequence in self._all() if not sequence.done]
        has_room = len(accepted) + count <= self.slots.capacity + self._max_waiting
        if not has_room or sum(sequence.nbytes for sequence in accepted) + nbytes > self._max_bytes:
            raise QueueFull(self.name, self.retry_after_s())

    def _all(self) -> list[LiveSequence]:
        return [*self._stepping, *self._reading, *self._waiting]

    async def _serve(self) -> None:
        """Run until nothing is left to do."""
        while self._tidy():
            try:
                await self._advance()
            except RunStopped:
                pass  # all who waited for it left: the next tidying frees their places
            except Exception as error:
                self._give_up_run(error)
                self._observe(error)
            else:
                self._observe(None)

    def _give_up_run(self, error: Exception) -> None:
        """Fail what lives. A run that is stuck may still write into its rows, so the next ones get others."""
        logger.error("%s failed to generate", self.name, exc_info=None if isinstance(error, RunStuck) else error)
        for sequence in [*self._stepping, *self._reading]:
            sequence.fail(error)
        self._stepping = []
        self.slots.stop()
        self.slots = self.slots.renewed()

    def _tidy(self) -> bool:
        """Drop what nobody waits for, admit what waits. False when there is nothing to run."""
        now = time.monotonic()
        for sequence in self._all():
            sequence.check_deadline(now)
        self._waiting = deque(sequence for sequence in self._waiting if not sequence.done)
        self._reading = [sequence for sequence in self._reading if not sequence.done]
        for sequence in [sequence for sequence in self._stepping if sequence.done]:
            self._retire(sequence)
        while self._waiting and len(self._stepping) + len(self._reading) < self.slots.capacity:
            self._waiting[0].admitted_at = now
            self._reading.append(self._waiting.popleft())
        self._live_shown.set(len(self._stepping) + len(self._reading))
        self._waiting_shown.set(len(self._waiting))
        return bool(self._stepping or self._reading)

    def _retire(self, sequence: LiveSequence) -> None:
        """The last row moves to the freed one: here as in the slots."""
        self.slots.remove(sequence.row)
        self._stepping[self._stepping.index(sequence)] = self._stepping[-1]
        del self._stepping[-1]

    async def _advance(self) -> None:
        """One run: a chunk of the prompts that wait to be read, or a burst of steps."""
        if self._reading and not (self._read_last and self._stepping):
            sequences = self._reading[:PROMPTS_AT_ONCE]
            await self._run(sequences, lambda: self.slots.read([sequence.row for sequence in sequences]))
            self._stepping += [sequence for sequence in sequences if sequence.row in self.slots.live]
            unfinished = [sequence for sequence in sequences if not sequence.row.is_read]
            self._reading = self._reading[len(sequences) :] + unfinished  # in turn: a short prompt waits for no long one to end
            self._read_last = True
        else:
            steps = min(sequence.left for sequence in self._stepping)
            steps = min(steps, STEPS_BESIDE_PROMPTS) if self._reading else steps
            seconds = BURST_S + BURST_S_PER_SEQUENCE * len(self._stepping)
            await self._run(self._stepping, lambda: self.slots.step(steps, seconds))
            self._read_last = False

    async def _run(self, sequences: list[LiveSequence], run: Callable[[], list[Progress]]) -> None:
        self.slots.resume()
        started, work = time.monotonic(), sum(sequence.tokens_left for sequence in sequences)
        self._running = sequences
        try:
            progress = await asyncio.get_running_loop().run_in_executor(self._executor, run)
        finally:
            self._running = []
        self._deliver(sequences, progress)
        run_s, done = time.monotonic() - started, work - sum(sequence.tokens_left for sequence in sequences)
        self._token_s += SMOOTHING * (run_s / max(1, done) - self._token_s)
        runs = max([1, *(len(brought.generated.ids) for brought in progress if brought.generated is not None)])
        self._metrics.steps(runs, len(sequences), run_s)

    def _deliver(self, sequences: list[LiveSequence], progress: list[Progress]) -> None:
        now, generated = time.monotonic(), 0
        for sequence, brought in zip(sequences, progress, strict=True):
            if sequence.done:
                continue
            if brought.generated is not None and sequence.left == sequence.row.request.max_tokens:
                self._metrics.first_token_s.observe(now - sequence.submitted_at)
            generated += sequence.take(brought)
        self._metrics.tokens.inc(generated)
