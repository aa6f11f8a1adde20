"""Reference statistics from recordings: each passes the vehicle's own encoders in lock step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import Feature, Geometry
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.watch import SourceWatch
from edge_perception.models.loading import LoadedModel
from edge_perception.monitoring.condition_state import ConditionState
from edge_perception.monitoring.drift.detector import (
    DRIFT_NONE,
    DRIFT_NOT_KNOWN,
    NO_REFERENCE,
    QuantityFigure,
)
from edge_perception.monitoring.drift.reference import (
    ALL,
    LEAST_FRAMES,
    Reference,
    SectionBuilder,
    read_reference,
)
from edge_perception.monitoring.source import MonitorOptions, classes, is_due, quantities
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.own_parameters import with_own_parameters
from edge_perception.recordings.reader import open_recording
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.replay.binding import bind
from edge_perception.replay.lockstep import LockStep
from edge_perception.replay.vehicle import Vehicle, build_vehicle
from edge_perception.replay.virtual import LatencyModel, StageClock
from edge_perception.running.vehicle_plan import VehiclePlan, read_plan

Alter = Callable[[RecordedMessage], RecordedMessage]
LATENCY = "latency"  # of the machine that made the reference: told only where that is the vehicle


class Collector(SourceWatch):
    """Takes the place of a watch and keeps what it would have looked at."""

    def __init__(
        self,
        pipeline: EncoderPipeline,
        options: MonitorOptions,
        sections: dict[str, SectionBuilder],
    ) -> None:
        source, spec = pipeline.source, pipeline.spec
        super().__init__(source, spec, None)
        self._period_s = options.period_s
        self._state = ConditionState()
        self._last_ns = 0
        self._sections = sections

    def see(
        self,
        frame: Any,
        geometry: Geometry,
        feature: Feature,
        serving: LoadedModel,  # noqa: ARG002
    ) -> bool:
        """Collect a frame; False: it was not its turn, or it is not usable."""
        # As rarely as on the device: the correlation of samples depends on it.
        if not feature.valid or not is_due(feature.stamp_ns, self._last_ns, self._period_s):
            return False
        self._last_ns = feature.stamp_ns
        seen: Mapping[str, float] = {}
        if self._statistics is not None:
            seen = self._statistics.of(frame, geometry)
            self._state.step(self._statistics.scores(seen), feature.stamp_ns)
        for name in filter(None, (ALL, self._state.now.light)):
            builder = self._sections.setdefault(name, SectionBuilder())
            builder.add(quantities(seen, feature), classes(feature))
        return True


def drive(
    path: Path,
    params_files: Sequence[Path],
    overrides: Mapping[str, object],
    prepare: Callable[[Vehicle], None],
    alter: Alter | None = None,
) -> VehiclePlan:
    """Let a recording pass the vehicle's encoders and fusion.

    Args:
        path: the recording.
        params_files: of the vehicle; one beside the recording goes before them.
        overrides: more parameters as `node.parameter`.
        prepare: is given the vehicle before the first message.
        alter: returns what is replayed in place of a message.

    Raises:
        EdgePerceptionError: the recording, the parameters or a model cannot be used.
    """
    bag = open_recording(path)
    decoder = MessageDecoder(bag.definitions())
    plan = read_plan(with_own_parameters(path, params_files), overrides=overrides)
    binding = bind(bag, plan, decoder, {})
    present = {source.name for source in plan.sources} & set(binding.inputs.values())
    if not present:
        raise ConfigurationError(f"{path}: expected a topic of one of the sources, got none")
    vehicle = build_vehicle(plan, StageClock())
    try:
        prepare(vehicle)
        replay = LockStep(vehicle, binding, decoder, latency=LatencyModel(), start_ns=bag.start_ns)
        messages = bag.messages(list(binding.topics))
        for _ in replay.run(replay.read(map(alter, messages) if alter else messages)):
            pass
    finally:
        vehicle.close()
    return plan


@dataclass(frozen=True, kw_only=True)
class Held:
    """One source of a recording that was held against its reference."""

    source: str
    said: Mapping[str, str]  # as diagnostics say it, at the end
    findings: tuple[str, ...]  # all drift of the recording, over at its end or not
    figures: tuple[QuantityFigure, ...] = ()  # histograms of the last window

    @property
    def judged(self) -> bool:
        """Whether drift is known."""
        return not self.said["drift"].startswith(DRIFT_NOT_KNOWN)

    @property
    def good(self) -> bool:
        """Whether nothing drifted.

        Not known is not good where there is a reference; a source without one was not asked about.
        """
        unasked = f"{DRIFT_NOT_KNOWN}: {NO_REFERENCE}"
        return not self.findings and self.said["drift"] in (DRIFT_NONE, unasked)


def held_against(
    path: Path,
    params_files: Sequence[Path],
    references: Sequence[Path],
    *,
    alter: Alter | None = None,
) -> Iterator[Held]:
    """Yield each source of a recording with what its watch says at the end, and all its drift.

    Args:
        path: the recording.
        params_files: of the vehicle.
        references: files of references, one a source at most.
        alter: returns what is replayed in place of a message: a planted shift.

    Raises:
        EdgePerceptionError: as `drive`; a reference is broken.
    """
    files = {read_reference(item).source: str(item) for item in references}
    overrides = {f"{name}_encoder.monitor.drift_reference": item for name, item in files.items()}
    kept: list[Vehicle] = []
    drive(path, params_files, overrides, kept.append, alter)
    for name, pipeline in kept[0].pipelines.items():
        watch = pipeline.watch
        yield Held(
            source=name,
            said=watch.describe(),
            findings=watch.history(),
            figures=watch.figures(),
        )


def make_references(
    paths: Sequence[Path],
    *,
    params_files: Sequence[Path] = (),
    overrides: Mapping[str, object] | None = None,
    with_latency: bool = False,
) -> Iterator[tuple[str, Reference | str]]:
    """Yield a reference by source, or why there is none.

    Args:
        paths: recordings of good drives.
        params_files: of the vehicle.
        overrides: more parameters as `node.parameter`.
        with_latency: this is the machine that drives, and not busy with anything else.

    Raises:
        EdgePerceptionError: a recording, the parameters or a model cannot be used.
    """
    sections: dict[str, dict[str, SectionBuilder]] = {}
    about: dict[str, tuple[str, str, str]] = {}

    def prepare(vehicle: Vehicle) -> None:
        for source in vehicle.plan.sources:
            pipeline = vehicle.pipelines[source.name]
            manifest = pipeline.model.loaded.bundle.manifest
            model_sha256 = manifest.files[manifest.model].sha256
            about[source.name] = (source.spec.modality, manifest.name, model_sha256)
            held = sections.setdefault(source.name, {})
            pipeline.watch = Collector(pipeline, source.monitor or MonitorOptions(), held)

    for path in paths:
        drive(path, params_files, overrides or {}, prepare)
    for name, held in sections.items():
        ready = {key: item for key, item in held.items() if item.frames >= LEAST_FRAMES}
        if not ready:
            most = max((item.frames for item in held.values()), default=0)
            yield name, f"expected at least {LEAST_FRAMES} frames, got {most}"
            continue
        made = {key: item.section() for key, item in sorted(ready.items())}
        if not with_latency:
            made = {key: _without_latency(section) for key, section in made.items()}
        modality, model, model_sha256 = about[name]
        yield (
            name,
            Reference(
                schema_version=1,
                source=name,
                modality=modality,
                model=model,
                model_sha256=model_sha256,
                made_from=tuple(path.name for path in paths),
                sections=made,
            ),
        )


def _without_latency(section: Any) -> Any:
    kept = {name: item for name, item in section.quantities.items() if name != LATENCY}
    return replace(section, quantities=kept)
