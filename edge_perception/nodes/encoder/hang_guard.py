"""Watches an encoder's inference thread on the steady clock, and replaces what hangs."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from rclpy.node import Node

from edge_perception.core.periodic import Periodic
from edge_perception.encoders.watchdog import (
    InferenceWatchdog,
    Remedy,
    WatchdogLimits,
    hung_limit_s,
)
from edge_perception.encoders.worker import EncoderWorker

PERIOD_S = 0.1
EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h


def _exit() -> None:
    # A clean shutdown would wait for the thread that hangs.
    sys.stderr.flush()
    os._exit(EXIT_CODE)


class HangGuard:
    """Asks for a new session first and ends the process when that does not help.

    Args:
        node: gives the log.
        worker: the present inference thread; None: none runs.
        budget_s: time a frame may take.
        limits: thresholds.
        new_session: loads the model again; runs in a thread of its own, may take seconds.
    """

    def __init__(
        self,
        node: Node,
        *,
        worker: Callable[[], EncoderWorker | None],
        budget_s: Callable[[], float],
        limits: Callable[[], WatchdogLimits],
        new_session: Callable[[EncoderWorker], None],
    ) -> None:
        self._node, self._worker, self._budget_s, self._limits = node, worker, budget_s, limits
        self._new_session = new_session
        self._watchdog = InferenceWatchdog()
        self._renewing = False
        self._looks: Periodic | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._looks = Periodic(
            PERIOD_S,
            self._look,
            on_error=lambda error: self._node.get_logger().error(f"hang guard: {error!r}"),
            name=f"{self._node.get_name()}_hang_guard",
        )
        self._looks.start()

    def stop(self) -> None:
        """End watching."""
        if self._looks is not None:
            self._looks.stop()

    def _look(self) -> None:
        worker = self._worker()
        if worker is None or self._renewing:
            return
        busy_s, budget_s, limits = worker.busy_s(), self._budget_s(), self._limits()
        remedy = self._watchdog.look(
            busy_s=busy_s, budget_s=budget_s, limits=limits, steady_ns=time.monotonic_ns()
        )
        if remedy is Remedy.NONE:
            return
        text = (
            f"inference hangs: {busy_s:.2f} s > {hung_limit_s(budget_s, limits):.2f} s; "
            f"{remedy.value}"
        )
        if remedy is Remedy.NEW_PROCESS:
            self._node.get_logger().fatal(text)
            _exit()
            return
        self._node.get_logger().error(text)
        worker.abandon()
        self._renewing = True
        threading.Thread(target=self._renew, args=(worker,), daemon=True).start()

    def _renew(self, worker: EncoderWorker) -> None:
        try:
            self._new_session(worker)
        except Exception as error:  # the next look ends the process
            self._node.get_logger().error(f"new session failed: {error!r}")
        finally:
            self._renewing = False
