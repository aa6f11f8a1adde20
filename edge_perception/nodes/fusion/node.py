"""The fusion node: features in, one fused view a cycle out."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import Bool

from edge_perception import msg
from edge_perception.core.errors import EdgePerceptionError, ModelError, SwapError
from edge_perception.core.health import Health
from edge_perception.core.histogram import LatencyStatistics
from edge_perception.core.types import Feature, FusedView, ModelVersion, PublishedView
from edge_perception.encoders import modality_of, source_defaults
from edge_perception.fusion.calibration_check import CalibrationCheck
from edge_perception.fusion.config import (
    CycleConfig,
    DecisionConfig,
    FusionConfig,
    SourceConfig,
)
from edge_perception.fusion.cycle import Cycle
from edge_perception.fusion.fusion import Fusion
from edge_perception.fusion.late import LateBoard
from edge_perception.fusion.latency import FusionLatency
from edge_perception.fusion.odometry import ODOMETRY_TYPE, pose_from_msg
from edge_perception.fusion.options import DEFAULT_FUSION_MODEL, FusionNodeOptions
from edge_perception.fusion.policy import default_policy, read_policy
from edge_perception.fusion.publishers import Route
from edge_perception.fusion.view import published
from edge_perception.models.loading import LoadedModel, ModelOptions, may_keep
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.spin import run
from edge_perception.nodes.conversion import fused_msg, latency_statistics_msgs
from edge_perception.nodes.fusion.detections import DetectionPublisher
from edge_perception.nodes.fusion.health import (
    FusionHealth,
    with_calibration,
    with_objectives,
    with_odometry,
    with_runtime,
)
from edge_perception.nodes.fusion.markers import MarkerPublisher
from edge_perception.nodes.fusion.models import FusionModels
from edge_perception.nodes.fusion.trial_fusion import TrialFusion
from edge_perception.nodes.fusion.worker import FusionWorker
from edge_perception.nodes.links.feature_inlet import FeatureInlet, trial_topic
from edge_perception.nodes.links.late_evidence import LateInlet
from edge_perception.nodes.links.model_info import kept_infos, model_info
from edge_perception.nodes.links.model_services import ModelServices
from edge_perception.nodes.links.variant_advice import AdvicePublisher
from edge_perception.nodes.topics import qos
from edge_perception.nodes.topics.receiver import Receiver
from edge_perception.releases.candidate import MODES, CandidateTrial
from edge_perception.releases.loading import load_model
from edge_perception.releases.slo import END_TO_END
from edge_perception.releases.slo_file import read_slo

DECISION_BYTES = 4_000_000  # decisions and obstacle points beside what the fusion model takes
MOST_FEATURE_BYTES = 32_000_000  # of a feature that no model is asked for


class FusionNode(PerceptionNode):
    """Joins the features of all sources under a deadline."""

    def __init__(self, *, subscribe: bool = True, **kwargs: Any) -> None:
        """Declare parameters.

        Args:
            subscribe: False in a composed process, where encoders call `accept` themselves.
            kwargs: for the rclpy node.
        """
        super().__init__("fusion", **kwargs)
        self._subscribe = subscribe
        self._options = self.declare_parameters_of(FusionNodeOptions)
        self._model = self.declare_parameters_of(
            ModelOptions, defaults={"model": DEFAULT_FUSION_MODEL}
        )
        self._cycle = self.declare_parameters_of(CycleConfig, on_change=self._on_config)
        self._decision = self.declare_parameters_of(
            DecisionConfig, prefix="decision.", on_change=self._on_config
        )
        self._sources = [self._declare_source(name) for name in self.sources]
        self._models = self._models_of(None)
        self._board: LateBoard | None = None
        self._late: LateInlet | None = None
        self._worker: FusionWorker | None = None
        self._receiver: Receiver | None = None
        self._model_services = ModelServices(self, self, lambda: self._model.config)

    def _declare_source(self, source: str) -> Any:
        defaults = source_defaults(source)
        return self.declare_parameters_of(
            SourceConfig, prefix=f"{source}.", defaults=defaults, on_change=self._on_config
        )

    def _models_of(self, loaded: LoadedModel | None) -> FusionModels:
        return FusionModels(
            loaded,
            admits=lambda: may_keep(self._model.config),
            trial_fusion=lambda models, spaces, exclusive, trial: TrialFusion(
                config=self._config(),
                clock=self.clock,
                models=models,
                spaces=spaces,
                exclusive=exclusive,
                trial=trial,
                on_error=self._on_error,
            ),
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources."""
        return self._options.config.sources

    @property
    def _cycles(self) -> FusionWorker:
        if self._worker is None:
            raise SwapError(f"{self.get_name()} was never active")
        return self._worker

    # -- lifecycle --

    def configure(self) -> None:
        """Load the fusion model, where one is named."""
        self._slo = read_slo(self._options.config.slo_file)
        path = self._options.config.degradation_policy
        self._policy = read_policy(Path(path)) if path else default_policy()
        if self._model.config.model:
            self._models = self._models_of(load_model(self._model.config, role="fusion"))
        self._publisher = self.create_publisher(msg.FusedPerception, "perception/fused", qos.FUSED)
        self._safe_stop = self.create_publisher(Bool, "perception/safe_stop", qos.LATCHED)
        self.rivals.watch("perception/fused")
        self._views = (MarkerPublisher(self), DetectionPublisher(self))
        named = any(entry.variants for entry in self._policy.conditions)
        self._advice = AdvicePublisher(self) if named else None

    def activate(self) -> None:
        """Start the cycles, then subscribe."""
        models = self._models.models
        fusion = Fusion(
            config=self._config(), now=self.clock.now(), models=models, policy=self._policy
        )
        self._since_ns = self.clock.now().node_ns
        self._latency = FusionLatency()
        self._told: Mapping[str, LatencyStatistics] | None = None
        self._evidence = FusionHealth()
        self._calibration = CalibrationCheck()
        self._missed = 0
        self._start_late_evidence(self._options.config.late_hold_s)
        self._worker = FusionWorker(
            fusion=fusion,
            clock=self.clock,
            sink=self._on_view,
            on_error=self._on_error,
            after=self._after_cycle,
        )
        self._worker.start()
        self._receiver = Receiver(self, on_error=self._on_error)
        for name in self.sources if self._subscribe else ():
            FeatureInlet(
                self,
                name,
                most_bytes=functools.partial(self._most_bytes, modality_of(name)),
                offer=self._worker.offer,
                refuse=self._worker.refuse,
            ).subscribe(self._receiver)
            FeatureInlet(
                self,
                name,
                topic=trial_topic(name),
                most_bytes=functools.partial(self._most_bytes, modality_of(name)),
                offer=lambda feature, _route: self.accept_beside(feature),
                refuse=lambda _source, reason: self._on_error(ModelError(reason)),
            ).subscribe(self._receiver)
        if self._late is not None:
            self._late.subscribe(self._receiver)
        if self._options.config.odometry_topic:
            self._receiver.subscribe(
                ODOMETRY_TYPE,
                self._options.config.odometry_topic,
                self._on_odometry,
                qos_profile_sensor_data,
                on_refused=self._on_error,
            )
        self._receiver.start()

    def _start_late_evidence(self, hold_s: float) -> None:
        self._board = LateBoard(self.sources, hold_s) if hold_s else None
        self._late = (
            LateInlet(self, self._board, self.sources, self._on_error) if self._board else None
        )

    def deactivate(self) -> None:
        """Unsubscribe, then stop the cycles."""
        # Either may be missing after an activation that failed half-way.
        if self._receiver is not None:
            self._receiver.stop()
        if self._worker is not None:
            self._worker.stop()

    def cleanup(self) -> None:
        """Release the fusion model."""
        self._models.close()
        self._model_services.reset()

    def health(self) -> Health:
        """Judge the last fused view."""
        heard_ns = self._cycles.last_arrivals_ns()
        counters = self._cycles.counters()
        health = self._evidence.judge(self._config(), heard_ns, self.clock.now(), counters)
        limit_deg = self._options.config.calibration_warn_deg
        health = with_calibration(health, self._calibration.offsets_deg(), limit_deg)
        if self._models.loaded is not None:
            health = with_runtime(health, self._models.loaded)
        if self._late is not None:
            health = replace(health, values={**health.values, **self._late.values()})
        health = with_objectives(health, self._slo.of(END_TO_END), self._told or {})
        topic = self._options.config.odometry_topic
        return with_odometry(health, topic, self.odometry_age_s()) if topic else health

    def odometry_age_s(self) -> float:
        """Return how old the newest odometry is, s; infinite: there is none."""
        stamp_ns = self._worker.odometry_ns() if self._worker is not None else 0
        return (self.clock.now().node_ns - stamp_ns) / 1e9 if stamp_ns else math.inf

    # -- the path of a feature --

    def _most_bytes(self, modality: str) -> int:
        """Return the largest feature message of a modality that the models can produce."""
        if self._options.config.max_feature_mb:
            return round(self._options.config.max_feature_mb * 1e6)
        taken = self._models.input_bytes(modality)
        return MOST_FEATURE_BYTES if taken is None else taken + DECISION_BYTES

    def _on_odometry(self, message: Any) -> None:
        try:
            self._cycles.move(pose_from_msg(message, self._cycle.config.base_frame))
        except EdgePerceptionError as error:
            self._on_error(error)

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
        now = self.clock.now()
        if self._board is not None:
            view = replace(view, late_evidence=self._board.held(now.node_ns))
        sent = published(view, now)
        self._missed += sent.deadline_missed
        message = fused_msg(sent)
        message.deadline_missed_total = self._missed
        message.latency = self._latency_msgs(now.steady_ns)
        self._publisher.publish(message)
        after = self.clock.now()
        self._latency.on_view(
            view,
            publish_s=(after.steady_ns - now.steady_ns) / 1e9,
            end_to_end_s=sent.end_to_end_s,
        )
        self._safe_stop.publish(Bool(data=message.safe_stop))
        for publisher in self._views:
            publisher.publish(view)
        self._evidence.on_view(view, missed=sent.deadline_missed, now=now)
        self._tell(sent)
        self._models.on_view(view, now.node_ns, self._cycles.change)

    def _tell(self, sent: PublishedView) -> None:
        """Tell of a view for who looks at an anomaly."""
        log, view = self.get_logger(), sent.view
        log.detail(
            "view {} {}: wait {:.2f}, fusion {:.2f}, end to end {:.2f} ms",
            view.stamp_ns,
            view.mode.name,
            1e3 * view.wait_s,
            1e3 * view.fusion_s,
            1e3 * sent.end_to_end_s,
        )
        if sent.deadline_missed:
            log.anomaly(
                f"deadline missed: wait {1e3 * view.wait_s:.1f} and fusion "
                f"{1e3 * view.fusion_s:.1f} ms > {1e3 * view.deadline_s:.1f} ms"
            )

    def _after_cycle(self, cycle: Cycle) -> None:
        """Look at a cycle whose view is on its way; runs in the fusion thread."""
        self._calibration.add(cycle.features)
        if self._advice is not None:
            self._advice.tell(cycle.variants, self.clock.now().steady_ns)

    def _latency_msgs(self, steady_ns: int) -> list[msg.LatencyStatistics]:
        """Return the statistics as messages, which are made anew only when they changed."""
        statistics = self._latency.statistics(steady_ns)
        if statistics is not self._told:
            self._told = statistics
            self._told_msgs = latency_statistics_msgs(statistics)
            self._evidence.on_latency(statistics)
        return self._told_msgs

    # -- parameters --

    def _config(self) -> FusionConfig:
        return FusionConfig(
            sources=tuple(source.config for source in self._sources),
            cycle=self._cycle.config,
            decision=self._decision.config,
        )

    def _on_config(self, _changed: object) -> None:
        if self._worker is not None:
            self._worker.change(lambda fusion: fusion.configure(self._config()))

    def _on_error(self, error: Exception) -> None:
        self._evidence.on_error(error)
        self.get_logger().error(f"{error!r}")

    # -- model changes --

    def prepare_kept(self, sha256: str) -> bool:
        """Prepare the model that served before; False: it is not loaded any more."""
        if not self.is_active:
            return False
        return self._models.prepare_kept(sha256, self._cycles.change)

    def prepare_model(self, name: str, version: str, sha256: str) -> None:
        """Load and warm a fusion model beside the running one."""
        if not self.is_active:
            raise SwapError("fusion: is not active")
        self._models.make_room()
        loaded = load_model(
            self._model.config,
            role="fusion",
            name=name,
            version=version,
            sha256=sha256,
            beside=True,
        )
        self._models.prepare(loaded, self._cycles.change)

    def try_model(self, mode: str, share: float, deadline_ms: float) -> CandidateTrial:
        """Let the prepared model run on some cycles; STATUS changes nothing."""
        trial = self._models.trial
        if mode in MODES:
            trial.set_mode(mode, share, deadline_ms=deadline_ms)
            self._models.try_out(self._cycles.change)
        return trial

    def commit_model(self, effective_stamp_ns: int) -> ModelVersion:
        """Let the prepared model fuse cycles from a stamp on."""
        self._since_ns = effective_stamp_ns
        return self._models.commit(effective_stamp_ns, self._cycles.change)

    def abort_model(self) -> None:
        """Drop the prepared model."""
        self._models.abort(self._cycles.change)

    @property
    def model_changing(self) -> bool:
        """Whether a committed change has not taken effect everywhere."""
        return self._models.changing

    def model_infos(self) -> list[msg.ModelInfo]:
        """Return what is served now; nothing without a fusion model."""
        loaded = self._models.loaded
        if loaded is None:
            return []
        info = model_info(
            self,
            loaded,
            self._model.config,
            role="fusion",
            since_ns=self._since_ns,
            frames_served=self._evidence.feature_level_views,
        )
        return [info, *kept_infos(info, self._models.kept)]


main = functools.partial(run, lambda: [FusionNode()])
