"""The models of one encoder node: what serves, what is prepared beside it, what served before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from edge_perception import msg
from edge_perception.core.clock import Clock
from edge_perception.core.errors import SwapError
from edge_perception.core.types import Geometry, ModelCommit
from edge_perception.encoders.load_control import LoadOptions
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.pose import SensorPose
from edge_perception.encoders.serving import ServedModel
from edge_perception.models.kept import KeptModel
from edge_perception.models.loading import LoadedModel, closed_on_failure, may_keep
from edge_perception.models.manifest import Bundle
from edge_perception.models.memory import release_model
from edge_perception.nodes.encoder.load import LoadEvents, MachineHeat, encoder_load
from edge_perception.nodes.encoder.parameters import EncoderParameters
from edge_perception.nodes.links.model_info import kept_infos, model_info
from edge_perception.releases.candidate import MODES, CandidateTrial
from edge_perception.releases.loading import load_model


class EncoderModels:
    """Loads models into the pipeline of a source; what `ModelServices` asks of an encoder."""

    def __init__(
        self,
        node: Node,
        parameters: EncoderParameters,
        clock: Clock,
        pose: Callable[[], SensorPose],
    ) -> None:
        """Load nothing yet.

        Args:
            node: gives its name and the log.
            parameters: of the encoder.
            clock: clock of the node.
            pose: makes what says where the sensor sits, for a pipeline of its own.
        """
        self._node, self._spec, self._clock = node, parameters.spec, clock
        self._parameters, self._options, self._pose = parameters, parameters.model, pose
        self._source = parameters.source.config.source
        self._load_events = LoadEvents(node, self._source)
        self._heat = MachineHeat(lambda error: node.get_logger().error(f"heat: {error!r}"))
        self.pipeline: EncoderPipeline | None = None
        self.last_error = ""
        self._kept = KeptModel[ServedModel](
            bundle=lambda model: model.loaded.bundle,
            release=lambda model: release_model(model.loaded),
            admits=lambda: may_keep(self._options.config),
        )

    # -- with the lifecycle of the node --

    def load(self) -> None:
        """Load and warm the model that serves first."""
        loaded = self._load()
        with closed_on_failure(loaded.backend):
            self.pipeline = self._pipeline_of(loaded, self._parameters.source.config.geometry())
        self._node.get_logger().info(
            f"{self._source}: {loaded.bundle.manifest.name} {loaded.bundle.manifest.version} on "
            f"{loaded.info.runtime} {loaded.info.provider}"
        )

    def load_again(self) -> EncoderPipeline:
        """Return a new session of the model that serves; who asked decides whether to use it.

        Where another is committed already, that one: the thread that hangs does not come to its
        stamp, and what hangs may be in quarantine by then, so that nobody can load it.
        """
        before = self.configured
        hung, committed = before.model, before.serving.committed
        bundle = hung.loaded.bundle
        if committed is not hung:
            loaded = committed.loaded  # warm, and no thread uses it
        else:
            loaded = self._load(
                name=bundle.manifest.name,
                version=bundle.manifest.version,
                sha256=bundle.sha256,
                instead_of=hung.loaded.backend,
            )
        self._let_variants_go(before)  # but not what the hung thread may still use
        pipeline = self._pipeline_of(loaded, before.place.calibrated)
        pipeline.model.learn_from(before.model)
        return pipeline

    def close(self) -> None:
        """Release every model."""
        self._heat.close()
        self._kept.drop()
        if self.pipeline is not None:
            if self.pipeline.load is not None:
                self.pipeline.load.stand_ins.close()
            self.pipeline.model.loaded.backend.close()
            self.pipeline = None

    def _load(self, **which: Any) -> LoadedModel:
        return load_model(
            self._options.config, role=self._source, modality=self._spec.modality, **which
        )

    def _pipeline_of(self, loaded: LoadedModel, geometry: Geometry) -> EncoderPipeline:
        content = self._parameters.content
        pipeline = EncoderPipeline(
            source=self._source,
            spec=self._spec,
            model=ServedModel.build(self._spec, loaded),
            geometry=geometry,
            clock=self._clock,
            content_limits=content.config if content is not None else None,
            pose=self._pose(),
            monitor=self._parameters.monitor.config,
        )
        pipeline.serving.retired = lambda model: release_model(model.loaded)
        pipeline.serving.left = self._kept.keep
        pipeline.load = encoder_load(
            self._load_events,
            self._parameters.load.config,
            self._spec,
            source=self._source,
            model=self._options.config,
            load=lambda name: self._load(name=name, beside=True),
            beside=lambda: self._loaded_by(pipeline),
            heat=self._heat,
        )
        return pipeline

    def _let_variants_go(self, pipeline: EncoderPipeline) -> None:
        """Give back the variants that do not serve: a model is loaded beside the current one."""
        if pipeline.load is not None:
            models_mb = self._parameters.load.config.models_mb
            pipeline.load.stand_ins.cache.make_room(models_mb * 2**20)

    def _loaded_by(self, pipeline: EncoderPipeline) -> list[Bundle]:
        kept = self._kept.bundle
        loaded = [model.loaded.bundle for model in pipeline.serving.models()]
        return loaded if kept is None else [*loaded, kept]

    # -- what may change while they run --

    def set_content_limits(self, limits: Any) -> None:
        """Take new thresholds of the content check."""
        if self.pipeline is not None:
            self.pipeline.frames.set_content_limits(limits)

    def set_load(self, options: LoadOptions) -> None:
        """Take new options of load control."""
        if self.pipeline is not None and self.pipeline.load is not None:
            self.pipeline.load.control.options = options

    def advise(self, variant: str, condition: str) -> None:
        """Take which variant should serve in the present condition; empty: the node's own."""
        if self.pipeline is not None and self.pipeline.load is not None:
            self.pipeline.load.advise(variant, condition, self._clock.now().steady_ns)

    # -- model changes --

    def prepare_kept(self, sha256: str) -> bool:
        """Prepare the model that served before; False: it is not loaded any more."""
        pipeline = self.pipeline
        kept = self._kept.take(sha256) if pipeline is not None else None
        if pipeline is None or kept is None:
            return False
        with closed_on_failure(kept.loaded.backend):
            if self._spec.stateful:  # its windows ended when it left
                kept = ServedModel.build(self._spec, kept.loaded)
            kept.since_ns = kept.frames = 0
            pipeline.prepare(kept, trial=self._trial_of(kept.loaded), warm=True)
        return True

    def prepare_model(self, name: str, version: str, sha256: str) -> None:
        """Load and warm a model beside the running one."""
        pipeline = self.configured
        pipeline.serving.loading = True
        try:
            self._kept.make_room()
            self._let_variants_go(pipeline)
            loaded = self._load(name=name, version=version, sha256=sha256, beside=True)
            with closed_on_failure(loaded.backend):
                if pipeline is not self.pipeline:
                    raise SwapError(f"{self._node.get_name()} was cleaned up meanwhile")
                served = ServedModel.build(self._spec, loaded)
                pipeline.prepare(served, trial=self._trial_of(loaded))
        finally:
            pipeline.serving.loading = False

    def _trial_of(self, loaded: LoadedModel) -> CandidateTrial:
        serving = self.configured.model.loaded.bundle.manifest
        manifest = loaded.bundle.manifest
        return CandidateTrial(
            manifest,
            same_space=manifest.feature_space == serving.feature_space,
            stateful=self._spec.stateful,
            hears=not self._spec.locates,
        )

    def try_model(self, mode: str, share: float, deadline_ms: float) -> CandidateTrial:
        """Let the prepared model run on some frames; STATUS changes nothing."""
        tried = self.pipeline.serving.candidate if self.pipeline is not None else None
        if tried is None or not isinstance(trial := tried[1], CandidateTrial):
            raise SwapError(f"{self._source}: no prepared model to try")
        if mode in MODES:
            trial.set_mode(mode, share, deadline_ms=deadline_ms)
        return trial

    def commit_model(self, effective_stamp_ns: int) -> ModelCommit:
        """Let the prepared model serve frames from a stamp on."""
        return self.configured.serving.commit(effective_stamp_ns)

    def abort_model(self) -> None:
        """Drop the prepared model; after a cleanup there is none."""
        if self.pipeline is not None:
            self.pipeline.serving.abort()

    @property
    def configured(self) -> EncoderPipeline:
        """The pipeline.

        Raises:
            SwapError: there is none; the node is not configured.
        """
        if self.pipeline is None:
            raise SwapError(f"{self._node.get_name()} is not configured")
        return self.pipeline

    @property
    def model_changing(self) -> bool:
        """Whether a committed model waits for its first frame."""
        pipeline = self.pipeline
        return pipeline is not None and not pipeline.serving.settle(self._clock.now().node_ns)

    def model_infos(self) -> list[msg.ModelInfo]:
        """Return what is served now."""
        if self.pipeline is None:
            return []
        served = self.pipeline.serving.committed
        info = model_info(
            self._node,
            served.loaded,
            self._options.config,
            role=self._source,
            since_ns=served.since_ns,
            frames_served=served.frames,
            last_error=self.last_error,
        )
        return [info, *kept_infos(info, self._kept.bundle)]
