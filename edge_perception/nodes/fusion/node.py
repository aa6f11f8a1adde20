"""The fusion node: features in, one fused view a cycle out.

A feature comes in by `inlets`, or by reference, is fused in the thread of `worker`, and the view of
its cycle leaves by `view_outlet`; here is what these have in common, and when they live.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError, SwapError
from edge_perception.core.health import Health
from edge_perception.core.types import Feature, FusedView
from edge_perception.fusion.calibration_check import CalibrationCheck
from edge_perception.fusion.config import FusionConfig
from edge_perception.fusion.cycle import Cycle
from edge_perception.fusion.fusion import Fusion
from edge_perception.fusion.late import LateBoard
from edge_perception.fusion.odometry_watch import OdometryState
from edge_perception.fusion.policy import default_policy, read_policy
from edge_perception.fusion.publishers import Route
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.spin import run
from edge_perception.nodes.fusion.findings import (
    with_broken_slo,
    with_calibration,
    with_latency,
    with_odometry,
    with_runtime,
)
from edge_perception.nodes.fusion.health import FusionHealth
from edge_perception.nodes.fusion.inlets import FusionInlets
from edge_perception.nodes.fusion.model_host import FusionModelHost
from edge_perception.nodes.fusion.parameters import FusionParameters
from edge_perception.nodes.fusion.view_outlet import ViewOutlet
from edge_perception.nodes.fusion.worker import FusionWorker
from edge_perception.nodes.links.model_services import ModelServices
from edge_perception.nodes.links.variant_advice import AdvicePublisher
from edge_perception.releases.slo import END_TO_END, Slo
from edge_perception.releases.slo_file import read_slo


class FusionNode(PerceptionNode):
    """Joins the features of all sources under a deadline."""

    def __init__(self, *, subscribe: bool = True, **kwargs: Any) -> None:
        """Declare parameters.

        Args:
            subscribe: False in a composed process, where encoders call `accept` themselves.
            kwargs: for the rclpy node.
        """
        super().__init__("fusion", **kwargs)
        self.expected_name = "fusion"
        self._subscribe = subscribe
        self._options = FusionParameters(self, self._on_config)
        self._models = FusionModelHost(
            self,
            self._options,
            change=self._change,
            served=lambda: self._evidence.feature_level_views,
            on_error=self._on_error,
        )
        self._model_services = ModelServices(self, self._models, lambda: self._options.model.config)
        self._evidence = FusionHealth()
        self._outlet: ViewOutlet | None = None  # while it is configured, as what follows
        self._advice: AdvicePublisher | None = None
        self._worker: FusionWorker | None = None  # while it is active, as what follows
        self._inlets: FusionInlets | None = None
        self._board: LateBoard | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources."""
        return self._options.options.config.sources

    @property
    def _cycles(self) -> FusionWorker:
        if self._worker is None:
            raise SwapError(f"{self.get_name()} was never active")
        return self._worker

    # -- lifecycle --

    def configure(self) -> None:
        """Load the fusion model, where one is named."""
        options = self._options.options.config
        self._read_objectives(options.slo_file)
        path = options.degradation_policy
        self._policy = read_policy(Path(path)) if path else default_policy()
        self._models.load()
        self._outlet = ViewOutlet(self)
        if any(entry.variants for entry in self._policy.conditions):
            self._advice = AdvicePublisher(self)

    def _read_objectives(self, path: str) -> None:
        """Read the SLO file; a broken one is said, and views go on: it makes none of them."""
        self._slo_problem = ""
        try:
            self._slo = read_slo(path)
        except ConfigurationError as error:
            self._slo = Slo(objectives=())
            self._slo_problem = f"no objective is judged: slo_file: {error}"
            self.get_logger().error(self._slo_problem)

    def activate(self) -> None:
        """Start the cycles, then subscribe."""
        assert self._outlet is not None
        options = self._options.options.config
        self._evidence = FusionHealth()
        self._calibration = CalibrationCheck()
        self._board = LateBoard(self.sources, options.late_hold_s) if options.late_hold_s else None
        self._outlet.begin(self._board)
        self._worker = FusionWorker(
            fusion=Fusion(
                config=self._options.fusion(),
                now=self.clock.now(),
                models=self._models.begin(),
                policy=self._policy,
            ),
            clock=self.clock,
            sink=self._on_view,
            on_error=self._on_error,
            after=self._after_cycle,
        )
        self._worker.start()
        self._inlets = FusionInlets(
            self,
            self._options,
            worker=self._worker,
            beside=self.accept_beside,
            input_bytes=self._models.input_bytes,
            on_error=self._on_error,
        )
        if self._subscribe:
            self._inlets.hear_features()
        if self._board is not None:
            self._inlets.hear_late_evidence(self._board)
        if options.odometry_topic:
            self._inlets.hear_odometry(options.odometry_topic)
        self._inlets.start()

    def deactivate(self) -> None:
        """Unsubscribe, then stop the cycles."""
        # Either may be missing after an activation that failed half-way.
        if self._inlets is not None:
            self._inlets.stop()
        if self._worker is not None:
            self._worker.stop()

    def cleanup(self) -> None:
        """Release the fusion model."""
        self._models.close()
        self._model_services.reset()
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None
        if self._advice is not None:
            self._advice.close()
            self._advice = None

    # -- the path of a feature --

    def accept(self, feature: Feature, route: Route | None = None) -> None:
        """Take a feature by reference, and whose it is; from any thread."""
        if self.is_active:
            self._cycles.offer(feature, route)

    def accept_beside(self, feature: Feature) -> None:
        """Take what the model of a trial that does not serve made of a frame; from any thread."""
        if self.is_active:
            self._models.offer_beside(feature)

    def _on_view(self, view: FusedView) -> None:
        """Publish a view; runs in the fusion thread."""
        assert self._outlet is not None
        now = self.clock.now()
        sent = self._outlet.send(view)
        self._evidence.on_view(sent.view, missed=self._outlet.missed, now=now)
        self._models.on_view(sent.view)

    def _after_cycle(self, cycle: Cycle) -> None:
        """Look at a cycle whose view is on its way; runs in the fusion thread."""
        self._calibration.add(cycle.features)
        if self._advice is not None:
            self._advice.tell(cycle.variants, self.clock.now().steady_ns)

    # -- what comes in between --

    def _change(self, change: Callable[[Fusion], None]) -> None:
        self._cycles.change(change)

    def _on_config(self, config: FusionConfig) -> None:
        if self._worker is not None:
            self._worker.change(lambda fusion: fusion.configure(config))

    def _on_error(self, error: Exception) -> None:
        self._evidence.on_error(error)
        self.get_logger().error(f"{error!r}")

    # -- diagnostics --

    def health(self) -> Health:
        """Judge the last fused view."""
        assert self._outlet is not None  # the node is active
        options = self._options.options.config
        health = self._evidence.judge(
            self._options.fusion(),
            self._cycles.last_arrivals_ns(),
            self.clock.now(),
            self._cycles.counters(),
        )
        health = with_calibration(
            health, self._calibration.offsets_deg(), options.calibration_warn_deg
        )
        if self._models.loaded is not None:
            health = with_runtime(health, self._models.loaded)
        if self._board is not None:
            health = replace(health, values={**health.values, **self._board.values()})
        health = with_latency(health, self._outlet.latency, self._slo.of(END_TO_END))
        health = with_broken_slo(health, self._slo_problem)
        topic = options.odometry_topic
        if not topic:
            return health
        return with_odometry(health, topic, self.odometry_age_s(), self._odometry())

    def _odometry(self) -> OdometryState:
        return self._worker.odometry() if self._worker is not None else OdometryState()

    def odometry_age_s(self) -> float:
        """Return how old the newest odometry is, s; infinite: there is none."""
        stamp_ns = self._odometry().newest_ns
        return (self.clock.now().node_ns - stamp_ns) / 1e9 if stamp_ns else math.inf


main = functools.partial(run, lambda: [FusionNode()])
