"""The inference thread of one source: runs while the node is active; one that hangs is replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_perception.core.types import Feature
from edge_perception.encoders.options import usable_cores
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.serving import Job
from edge_perception.encoders.worker import EncoderWorker
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.encoder.hang_guard import HangGuard
from edge_perception.nodes.encoder.models import EncoderModels
from edge_perception.nodes.encoder.parameters import EncoderParameters


class Inference:
    """Starts and replaces the thread in which the pipeline of the node runs.

    Args:
        node: the encoder.
        models: have the pipeline.
        parameters: of the encoder.
        equip: gives a pipeline what it tells others by, before its thread starts.
        sink: takes the features, in the thread.
        on_error: takes what a frame should not have raised.
    """

    def __init__(
        self,
        node: PerceptionNode,
        models: EncoderModels,
        parameters: EncoderParameters,
        *,
        equip: Callable[[EncoderPipeline], None],
        sink: Callable[[Feature], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._node, self._models, self._source = node, models, parameters.source
        self._equip, self._sink, self._on_error = equip, sink, on_error
        self._lock = threading.Lock()  # of the next two
        self._running = False
        self.worker: EncoderWorker | None = None  # the newest; None: the node was never active
        self._hang_guard = HangGuard(
            node,
            worker=lambda: self.worker if self._running else None,
            budget_s=lambda: parameters.limits.config.budget_ms / 1e3,
            limits=lambda: parameters.watchdog.config,
            new_session=self._new_session,
        )

    def start(self) -> None:
        """Start the thread, and watch it."""
        with self._lock:
            self.worker, self._running = self._started(), True
        self._hang_guard.start()

    def put(self, job: Job) -> None:
        """Hand over the newest frame; from any thread, after `start`."""
        assert self.worker is not None
        self.worker.put(job)

    def stop(self) -> None:
        """End the thread; also where it was never started."""
        with self._lock:
            self._running = False
        self._hang_guard.stop()
        if self.worker is not None:
            self.worker.stop()

    def _started(self) -> EncoderWorker:
        pipeline, options = self._models.configured, self._source.config
        self._equip(pipeline)
        worker = EncoderWorker(
            pipeline=pipeline,
            sink=self._sink,
            on_error=self._on_error,
            cores=usable_cores(options.cores),
            queue_frames=options.queue_frames,
        )
        worker.start()
        return worker

    def _new_session(self, hung: EncoderWorker) -> None:
        """Load the model that serves anew; the thread that hangs keeps the old session."""
        pipeline = self._models.load_again()
        with self._lock:
            if self.worker is not hung or not self._running:  # ended meanwhile
                return
            self._models.pipeline = pipeline
            self.worker = self._started()
        self._node.get_logger().warning("inference goes on in a new session")
