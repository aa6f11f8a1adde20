"""The thread that closes fusion cycles on time, whatever the executor is doing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from edge_perception.core.clock import Clock
from edge_perception.core.types import Feature, FusedView, Instant
from edge_perception.fusion.cycle import Cycle
from edge_perception.fusion.fusion import Fusion
from edge_perception.fusion.intake import IntakeCounters
from edge_perception.fusion.odometry_watch import OdometryState, Pose
from edge_perception.fusion.publishers import Route
from edge_perception.models.quiet import frame_in_work

RETRY_S = 0.05  # after a cycle that could not be closed


class FusionWorker:
    """Offers features to fusion and runs its cycles; fusing itself happens outside the lock."""

    def __init__(
        self,
        *,
        fusion: Fusion,
        clock: Clock,
        sink: Callable[[FusedView], None],
        on_error: Callable[[Exception], None],
        after: Callable[[Cycle], None] = lambda _: None,
    ) -> None:
        """Make the thread.

        Args:
            fusion: used under our lock only.
            clock: the clocks.
            sink: takes each view.
            on_error: takes what a cycle raises.
            after: looks at a cycle whose view is on its way.
        """
        self._fusion, self._clock = fusion, clock
        self._sink, self._on_error, self._after = sink, on_error, after
        self._condition = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="fusion", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def offer(self, feature: Feature, route: Route | None = None) -> None:
        """Take a feature and how it came; from any thread."""
        with self._condition:
            self._fusion.offer(feature, self._clock.now(), route)
            self._condition.notify()

    def refuse(self, source: str, reason: str) -> None:
        """Note what came for a source and is no feature; from any thread."""
        with self._condition:
            self._fusion.refuse(source, reason, self._clock.now())
            self._condition.notify()

    def change(self, change: Callable[[Fusion], None]) -> None:
        """Run a change of the fusion object between two cycles."""
        with self._condition:
            change(self._fusion)
            self._condition.notify()

    def move(self, pose: Pose) -> None:
        """Take in where the vehicle is; from any thread. No cycle waits for it."""
        with self._condition:
            self._fusion.add_odometry(pose)

    def odometry(self) -> OdometryState:
        """Return what is known of the odometry."""
        with self._condition:
            return self._fusion.odometry

    def counters(self) -> IntakeCounters:
        """Return what happened to features since the start."""
        with self._condition:
            return self._fusion.counters

    def last_arrivals_ns(self) -> dict[str, int]:
        """Return when each source was last heard, steady clock; never heard: left out."""
        with self._condition:
            return self._fusion.last_arrivals_ns()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread after the cycle in progress."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._condition:
                if self._stopping:
                    return
                now = self._clock.now()
                try:
                    cycle = self._fusion.close(now)
                    wait_s = None if cycle is not None else self._wait_s(now)
                except Exception as error:  # this thread is the output: it goes on
                    self._on_error(error)
                    cycle, wait_s = None, RETRY_S
                if cycle is None:
                    self._condition.wait(wait_s)
                    continue
            try:
                with frame_in_work():
                    view = self._fusion.fuse(cycle, self._on_error)
                    fusion_ns = self._clock.now().steady_ns - now.steady_ns
                    self._sink(replace(view, fusion_s=fusion_ns / 1e9))
                self._after(cycle)
            except Exception as error:
                self._on_error(error)

    def _wait_s(self, now: Instant) -> float | None:
        """Return how long to wait if nothing arrives; None: until something does."""
        deadline_ns = self._fusion.next_deadline_ns()
        return None if deadline_ns is None else max(deadline_ns - now.steady_ns, 0) / 1e9
