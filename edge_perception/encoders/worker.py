"""The inference thread of one source, behind a mailbox in which the newest frames win."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable

from edge_perception.core.mailbox import Mailbox
from edge_perception.core.types import Feature
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.serving import Job
from edge_perception.models.quiet import frame_in_work, give_back, keep_off, under_way

_WAIT_IN_CHANGE_S = 0.2  # a frame may be so late; what waits longer is overwritten as ever
_MOST_IN_CHANGE = 6
# After a change what waited is served, too. Where the encoder does not work its queue off, one
# frame less may wait after so many that came.
_RUN_OUT_FRAMES = 3


class EncoderWorker:
    """Takes the newest job, runs the pipeline and hands the feature to `sink`.

    An exception that is no refused frame goes to `on_error`, and the thread goes on with the next
    frame: one bad frame must not end a sensor.
    """

    def __init__(
        self,
        *,
        pipeline: EncoderPipeline,
        sink: Callable[[Feature], None],
        on_error: Callable[[BaseException], None],
        cores: frozenset[int] = frozenset(),
        queue_frames: int = 1,
    ) -> None:
        """Prepare the thread.

        Args:
            pipeline: what it runs.
            sink: takes the features, in this thread.
            on_error: takes what `process` or `sink` raised.
            cores: where the thread runs; empty: anywhere.
            queue_frames: so many frames may wait, the newest ones.
        """
        self._cores, self._queue_frames = cores, queue_frames
        self._pipeline = pipeline
        self._sink = sink
        self._on_error = on_error
        self._mailbox: Mailbox[Job] = Mailbox()
        self._busy_since_ns = 0  # steady clock; 0: idle
        self._received_ns: deque[int] = deque(maxlen=_MOST_IN_CHANGE)  # steady clock, newest last
        self._run_out = self._run_out_for = 0  # so many may wait, and for how many frames already
        self._abandoned = False
        pipeline.dropped = lambda: self._mailbox.dropped
        self._thread = threading.Thread(
            target=self._run, name=f"{pipeline.source}_inference", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, job: Job) -> None:
        """Hand over the newest frame; while models change, more of those before it may wait.

        Loading takes a core for moments. Frames that come meanwhile are late then, but not lost.
        Those that still wait when the change has ended are served, too: what may wait never grows
        again, and shrinks whether the encoder keeps up or not.
        """
        received_ns = job.received.steady_ns
        depth = self._queue_frames
        if self._pipeline.serving.changing or under_way():
            # By age, not by the newest gap: one late callback must not push out those that wait.
            oldest_ns = received_ns - round(_WAIT_IN_CHANGE_S * 1e9)
            depth += max(sum(before_ns >= oldest_ns for before_ns in self._received_ns), 1)
            self._run_out, self._run_out_for = depth, 0
        elif self._run_out > depth:
            depth = self._run_out = self._shrunk(self._run_out)
        self._received_ns.append(received_ns)
        self._mailbox.put(job, depth=max(depth, self._queue_frames))

    def _shrunk(self, depth: int) -> int:
        """Return how many frames may wait after a change, where it was `depth` before."""
        shrunk = min(depth, self._mailbox.waiting + 1)
        self._run_out_for += 1
        if shrunk == depth and self._run_out_for >= _RUN_OUT_FRAMES:
            shrunk -= 1
        if shrunk < depth:
            self._run_out_for = 0
        return shrunk

    def busy_s(self) -> float:
        """Return for how long the frame in work has been in work, s; 0: idle."""
        since_ns = self._busy_since_ns
        return (time.monotonic_ns() - since_ns) / 1e9 if since_ns else 0.0

    def abandon(self) -> None:
        """Let go of a thread that hangs: whatever it still gives is thrown away."""
        self._abandoned = True
        self._mailbox.close()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the thread after the frame in progress."""
        self._mailbox.close()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        if self._cores:
            os.sched_setaffinity(0, self._cores)  # of this thread; 0: the caller
        keep_off(self._cores)  # loading of models does
        try:
            self._work()
        finally:
            give_back(self._cores)

    def _work(self) -> None:
        while not self._mailbox.closed:
            job = self._mailbox.get()
            if job is None:
                continue
            self._pipeline.place.await_calibration()
            self._busy_since_ns = time.monotonic_ns()
            try:
                with frame_in_work():
                    feature = self._pipeline.process(job)
                    if self._abandoned:
                        return
                    if feature is not None:
                        self._sink(feature)
                self._pipeline.after()
                self._pipeline.observe()
            except BaseException as error:  # nobody else ends this thread, or would see it end
                self._on_error(error)
            finally:
                self._busy_since_ns = 0
