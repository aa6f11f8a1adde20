"""Frames of several sources in one run of a model, where that takes less time than one by one.

No thread of its own: a source that comes while nobody runs is the one that runs, for all that came
until then. Frames run in the order in which they came, as many as there are and no padding, and
none waits longer for others than it was told to. Whether this is worth it is not believed but
measured, again and again: see `Worth`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends.contract import Backend
from edge_perception.backends.tensors import check_inputs
from edge_perception.core.errors import BackendError

_GONE_PERIODS = 3.0  # a source that is silent so long is waited for no more
_SMOOTHED = 0.3  # weight of the newest period of a source
_EARLY = 0.25  # of its period: a source may come so much before it is expected


class Worth:
    """Whether frames are together sooner done than alone, by both being done in turns.

    What counts is the time from the call to the result, waiting for others included. At the start
    and again and again both ways take turns for a while, and the better one serves until the next
    such trial. Trials that find the same again are ever rarer. From any thread.
    """

    _TURNS = 6  # of a trial, half of them alone
    _BETTER = 0.97  # of the time alone: less gained is noise

    def __init__(self, *, turn: int) -> None:
        """Begin with frames together; the first trial follows after one turn.

        Args:
            turn: calls of a turn.
        """
        self._turn = self._until_trial = turn
        self._pause = self._TURNS * turn * 20
        self._lock = threading.Lock()
        self._pays = True
        self._number: int | None = None  # of the turn of a trial; None: there is none
        self._calls = 0
        self._seconds = [0.0, 0.0]  # alone, together
        self._counted = [0, 0]
        self.ratio = float("nan")  # time together over time alone, by the last trial

    @property
    def together(self) -> bool:
        """How frames run now."""
        number = self._number
        return self._pays if number is None else number % 2 == 1

    @property
    def pays(self) -> bool:
        """What the last trial found."""
        return self._pays

    def believe(self) -> None:
        """Run frames together without trials: somebody else measures what that brings."""
        with self._lock:
            self._number, self._pays = None, True
            self._until_trial = sys.maxsize

    def took(self, seconds: float, *, together: bool) -> None:
        """Take what a call took, the way it ran."""
        with self._lock:
            self._calls += 1
            if self._number is None:
                if self._calls >= self._until_trial:
                    self._number, self._calls = 0, 0
                    self._seconds, self._counted = [0.0, 0.0], [0, 0]
                return
            # The first calls of a turn overlap with those of the turn before.
            if together == (self._number % 2 == 1) and self._calls > self._turn // 4:
                self._seconds[together] += seconds
                self._counted[together] += 1
            if self._calls >= self._turn:
                self._number, self._calls = self._number + 1, 0
            if self._number == self._TURNS:
                self._judge()

    def _judge(self) -> None:
        self._number = None
        if not all(self._counted):
            return
        alone_s, together_s = (
            seconds / count for seconds, count in zip(self._seconds, self._counted, strict=True)
        )
        self.ratio = together_s / max(alone_s, 1e-9)
        before, self._pays = self._pays, self.ratio < self._BETTER
        least = self._TURNS * self._turn * 20
        self._pause = min(self._pause * 2, least * 16) if before == self._pays else least
        self._until_trial = self._pause


@dataclass(kw_only=True)
class _Request:
    source: int
    inputs: Mapping[str, NDArray]
    shapes: tuple[tuple[int, ...], ...]
    came_s: float
    outputs: dict[str, NDArray] | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.outputs is not None or self.error is not None


@dataclass(kw_only=True)
class _Rhythm:
    """When a source comes."""

    last_s: float
    period_s: float = 0.0

    def comes_by(self, at_s: float, now_s: float) -> bool:
        expected_s = self.last_s + (1.0 - _EARLY) * self.period_s
        return expected_s <= at_s and now_s - self.last_s < _GONE_PERIODS * self.period_s


@dataclass(kw_only=True)
class BatchFigures:
    """How frames ran."""

    runs: int = 0
    frames: int = 0
    alone: int = 0  # frames that ran by themselves, as batches did not pay
    waited_s: float = 0.0  # for others, the longest
    sizes: dict[int, int] = field(default_factory=dict)  # runs by their number of frames


class MicroBatches:
    """Runs frames of several threads on one session whose first dimension is free."""

    def __init__(
        self,
        backend: Backend,
        *,
        model: str,
        most: int,
        wait_s: float,
        concurrent: bool,
        worth: Worth | None = None,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a session whose frames may run together.

        Args:
            backend: the session; nobody else uses it.
            model: its name, for errors.
            most: frames of a run.
            wait_s: how long a frame waits for those of others that are about to come.
            concurrent: several threads may run the session at once, which is what `alone` does.
            worth: says which way serves; None: by trials.
            steady_s: the steady clock.
        """
        self._backend, self._model = backend, model
        self._most, self._wait_s, self._concurrent = most, wait_s, concurrent
        self._steady_s = steady_s
        info = backend.describe()
        self._inputs = info.inputs
        self.worth = worth or Worth(turn=8 * most)
        self._turn = threading.Condition()
        self._waiting: list[_Request] = []  # in the order in which they came
        self._running = False
        self._rhythms: dict[int, _Rhythm] = {}
        self._waking: set[int] = set()  # sources whose result is there, and not yet taken
        self._figures = BatchFigures()

    def infer(self, inputs: Mapping[str, NDArray], source: int) -> dict[str, NDArray]:
        """Run one frame, perhaps with frames of other sources.

        Args:
            inputs: of one frame: first dimension 1.
            source: tells its frames from those of others.

        Raises:
            BackendError: an input is missing, of the wrong shape or dtype, or the run failed.
        """
        check_inputs(self._model, self._inputs, inputs)
        for info in self._inputs:
            if inputs[info.name].shape[0] != 1:
                raise BackendError(
                    f"{self._model}: input '{info.name}' expects one frame, got "
                    f"{inputs[info.name].shape[0]}"
                )
        came_s, together = self._steady_s(), self.worth.together
        try:
            if not together and self._concurrent:
                with self._turn:
                    self._note(source, came_s)
                    self._figures.alone += 1
                return self._backend.infer(inputs)
            return self._together(inputs, source, came_s, self._most if together else 1)
        finally:
            self.worth.took(self._steady_s() - came_s, together=together)

    def forget(self, source: int) -> None:
        """Wait for a source no more: it has ended."""
        with self._turn:
            self._rhythms.pop(source, None)
            self._waking.discard(source)

    def figures(self) -> BatchFigures:
        """Return how frames ran so far."""
        with self._turn:
            figures = self._figures
            return BatchFigures(**{**vars(figures), "sizes": dict(figures.sizes)})

    def _together(
        self, inputs: Mapping[str, NDArray], source: int, came_s: float, most: int
    ) -> dict[str, NDArray]:
        shapes = tuple(inputs[info.name].shape for info in self._inputs)
        request = _Request(source=source, inputs=inputs, shapes=shapes, came_s=came_s)
        with self._turn:
            self._note(source, came_s)
            self._waiting.append(request)
            self._turn.notify_all()  # who waits for others may have its number now
        while not request.done:
            batch = self._my_turn(request, most)
            if batch:
                try:
                    self._run(batch)
                finally:
                    with self._turn:
                        self._running = False
                        # An interrupt is of this thread: frames of others run without it.
                        left = [item for item in batch if not item.done and item is not request]
                        self._waiting[:0] = left
                        self._waking.update(item.source for item in batch if item.done)
                        self._turn.notify_all()
        with self._turn:
            self._waking.discard(source)
            self._turn.notify_all()
        if request.error is not None:
            raise request.error
        assert request.outputs is not None
        return request.outputs

    def _my_turn(self, request: _Request, most: int) -> list[_Request]:
        """Wait until a frame is done, or is to be run by this thread; then return what runs."""
        with self._turn:
            while self._running and not request.done:
                self._turn.wait()
            if request.done:
                return []
            self._running = True
            try:
                self._await_others(most)
            except BaseException:
                self._running = False
                self._turn.notify_all()
                raise
            first = self._waiting[0]
            batch = [item for item in self._waiting if item.shapes == first.shapes][:most]
            taken = {id(item) for item in batch}
            self._waiting = [item for item in self._waiting if id(item) not in taken]
            figures = self._figures
            figures.runs += 1
            figures.frames += len(batch)
            figures.sizes[len(batch)] = figures.sizes.get(len(batch), 0) + 1
            return batch

    def _await_others(self, most: int) -> None:
        """Wait for those that are about to come, no longer than the oldest frame may."""
        began_s = self._steady_s()
        end_s = self._waiting[0].came_s + self._wait_s
        # Who ran the others is back first: those wake up before it runs again, or come second ever.
        while len(self._waiting) < most and (
            self._waking or len(self._waiting) < self._expected(most, end_s)
        ):
            left_s = end_s - self._steady_s()
            if left_s <= 0.0:
                break
            self._turn.wait(left_s)
        self._figures.waited_s = max(self._figures.waited_s, self._steady_s() - began_s)

    def _expected(self, most: int, end_s: float) -> int:
        """Return how many frames are worth waiting for: those here, and of sources that are due."""
        now_s, here = self._steady_s(), {item.source for item in self._waiting}
        due = sum(
            source not in here and rhythm.comes_by(end_s, now_s)
            for source, rhythm in self._rhythms.items()
        )
        return min(most, len(self._waiting) + due)

    def _note(self, source: int, came_s: float) -> None:
        rhythm = self._rhythms.get(source)
        if rhythm is None:
            self._rhythms[source] = _Rhythm(last_s=came_s)
            return
        period_s = came_s - rhythm.last_s
        known = rhythm.period_s or period_s
        rhythm.period_s = known + _SMOOTHED * (period_s - known)
        rhythm.last_s = came_s

    def _run(self, batch: list[_Request]) -> None:
        """Run frames in one call; where that fails each by itself: one bad frame harms no other."""
        if len(batch) > 1:
            try:
                outputs = self._backend.infer(
                    {
                        info.name: np.concatenate([item.inputs[info.name] for item in batch])
                        for info in self._inputs
                    }
                )
                rows = [
                    {name: array[row : row + 1] for name, array in outputs.items()}
                    for row in range(len(batch))
                ]
            except Exception:  # whoever is at fault hears it below
                rows = []
            for item, row in zip(batch, rows, strict=False):
                item.outputs = row
        for item in batch:
            if item.outputs is not None:
                continue
            try:
                item.outputs = self._backend.infer(item.inputs)
            except BaseException as error:
                item.error = error
