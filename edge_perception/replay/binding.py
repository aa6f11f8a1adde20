"""Which topic of a recording feeds which source, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.transforms import MOVING, STATIC, TF_TYPE
from edge_perception.encoders import TopicSpec
from edge_perception.encoders.pose import pose_of
from edge_perception.encoders.ways import AUTO
from edge_perception.fusion.odometry import ODOMETRY_TYPE
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.reader import Recording
from edge_perception.replay.remaps import named_topics
from edge_perception.running.vehicle_plan import SourcePlan, VehiclePlan

_TRANSFORMS = ((STATIC, True), (MOVING, False))


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What the topics of a recording mean."""

    inputs: Mapping[str, str]  # topic of the recording -> source
    names: Mapping[str, str] = field(default_factory=dict)  # -> topic inside the vehicle
    calibrations: Mapping[str, str]  # topic of the recording -> source
    transforms: Mapping[str, bool] = field(default_factory=dict)  # topic -> they are static
    odometry: str = ""  # topic of the recording; empty: none is used
    ways: Mapping[str, str] = field(default_factory=dict)  # topic -> way of its source
    latched: frozenset[str] = frozenset()  # topics whose last message holds until the next
    notes: tuple[str, ...] = ()  # what is not there and need not be
    missing: tuple[str, ...] = ()  # what should be there: no verdict holds without
    refused: Mapping[str, str] = field(default_factory=dict)  # topic -> why it is not read

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics that are read."""
        odometry = {self.odometry} - {""}
        return tuple(sorted({*self.inputs, *self.calibrations, *self.transforms, *odometry}))

    def topics_of(self, source: str) -> list[str]:
        """Return the topics of the recording that feed a source."""
        return [topic for topic, name in self.inputs.items() if name == source]


def bind(
    bag: Recording, plan: VehiclePlan, decoder: MessageDecoder, remaps: Mapping[str, str]
) -> Binding:
    """Match the topics of a recording with the inputs of the vehicle.

    A source that is recorded otherwise than it can be read, or not at all, is named in `missing`.

    Raises:
        ConfigurationError: nothing matches that can be used, or a rule is for what is not there.
    """
    return _Binder(bag, plan, decoder, remaps).run()


class _Binder:
    def __init__(
        self, bag: Recording, plan: VehiclePlan, decoder: MessageDecoder, remaps: Mapping[str, str]
    ) -> None:
        self._bag, self._plan, self._decoder = bag, plan, decoder
        self._named = named_topics(bag, plan, remaps)
        self._inputs: dict[str, str] = {}
        self._calibrations: dict[str, str] = {}
        self._ways: dict[str, str] = {}
        self._latched: set[str] = set()
        self._refused: dict[str, str] = {}
        self._notes = list(plan.notes)
        self._missing: list[str] = []

    def run(self) -> Binding:
        for source in self._plan.sources:
            self._source(source)
        if not self._inputs:
            raise ConfigurationError(
                f"{self._bag.path}: a recording of another robot? expected at least one of "
                f"{', '.join(t for s in self._plan.sources for t in s.topics())}; it has "
                f"{', '.join(sorted(self._bag.counts))}; name them with --remap from:=to"
                + "".join(f"; {why}" for why in self._refused.values())
            )
        transforms = self._transforms()
        odometry = self._odometry()
        return Binding(
            inputs=self._inputs,
            names={topic: name for name, topic in self._named.items()},
            calibrations=self._calibrations,
            transforms=transforms,
            odometry=odometry,
            ways=self._ways,
            latched=frozenset(self._latched),
            notes=tuple(self._notes),
            missing=tuple(self._missing),
            refused=self._refused,
        )

    def _source(self, source: SourcePlan) -> None:
        wanted = source.topics()
        present = [name for name in wanted if name in self._named]
        usable = [name for name in present if self._is_usable(name, {wanted[name].type})]
        usable, told = _one_way(source, usable)
        frames = [name for name in usable if not wanted[name].latched]
        self._notes += told
        if source.load.budget_ms > 0.0:
            self._notes.append(
                f"{source.name}: load.budget_ms is not replayed: lock step has no load to control"
            )
        for name in usable if frames else ():
            self._inputs[self._named[name]] = source.name
            self._ways[self._named[name]] = wanted[name].way
            if wanted[name].latched:
                self._latched.add(self._named[name])
        self._tell(source, wanted, present, frames)
        calibration = source.calibration_topic
        if not calibration or not frames:
            return
        if calibration not in self._named:
            self._notes.append(
                f"{source.name}: the recording has no calibration on {calibration}"
                f"{self._other_calibrations(source)}; what needs it is refused"
            )
        elif self._is_usable(calibration, set()):
            self._calibrations[self._named[calibration]] = source.name
        else:
            self._missing.append(f"{source.name}: {self._why(calibration)}")

    def _tell(
        self,
        source: SourcePlan,
        wanted: Mapping[str, TopicSpec],
        present: Sequence[str],
        frames: Sequence[str],
    ) -> None:
        """Say of a source what is not read; none of it is a reason to pass no verdict."""
        reasons = [self._why(name) for name in present if self._named[name] in self._refused]
        if frames:
            self._notes += [f"{source.name}: {why}: not read" for why in reasons]
            return
        none = f"the recording has none of {', '.join(wanted)}{self._others(wanted)}"
        why = "; ".join(reasons) or none
        self._missing.append(
            f"{source.name}: {why} (where that is meant, leave the source out: --subset)"
        )

    def _others(self, wanted: Mapping[str, TopicSpec]) -> str:
        """Name the topics that may be the sensor: of its types, or of its name and packed."""
        types = {spec.type for spec in wanted.values() if not spec.latched}
        taken = {topic for source in self._plan.sources for topic in source.topics()}
        free = {topic for name, topic in self._named.items() if name not in taken}
        alike = sorted(topic for topic in free if self._bag.types_of(topic) & types)
        packed = sorted(
            f"{topic} ({', '.join(sorted(self._bag.types_of(topic)))})"
            for topic in free - {*alike}
            if any(f"/{topic.lstrip('/')}".startswith(f"{name}/") for name in wanted)
        )
        text = f"; of its type it has {', '.join(alike)}: --remap from:=to" if alike else ""
        return text + (f"; {', '.join(packed)}: unpack it before" if packed else "")

    def _other_calibrations(self, source: SourcePlan) -> str:
        assert source.spec.calibration is not None
        kind = {source.spec.calibration.type}
        taken = {each.calibration_topic for each in self._plan.sources}
        others = sorted(
            topic
            for name, topic in self._named.items()
            if name not in taken and self._bag.types_of(topic) == kind
        )
        return f"; of its type it has {', '.join(others)}: --remap from:=to" if others else ""

    def _odometry(self) -> str:
        name = self._plan.odometry_topic
        if not name:
            return ""
        if name not in self._named or not self._bag.count(self._named[name]):
            self._notes.append(f"the recording has no odometry on {name}: nothing is moved")
            return ""
        if self._is_usable(name, {ODOMETRY_TYPE}):
            return self._named[name]
        self._missing.append(
            f"odometry: {self._why(name)} (where that is meant: fusion.odometry_topic '')"
        )
        return ""

    def _transforms(self) -> dict[str, bool]:
        """Return the topics of tf, where a source has no pose of its own."""
        sources = self._plan.sources
        asking = [source for source in sources if pose_of(source.spec, source.options).asks_tf]
        if not asking:
            return {}
        there = [(name, static) for name, static in _TRANSFORMS if name in self._named]
        found = {
            self._named[name]: static for name, static in there if self._is_usable(name, {TF_TYPE})
        }
        whom = ", ".join(source.name for source in asking)
        if there and not found:
            why = "; ".join(self._why(name) for name, _ in there)
            self._missing.append(f"{whom}: T_base_sensor is not set, and {why}")
        if not there:
            self._notes.append(
                f"{whom}: T_base_sensor is not set and the recording has neither {STATIC} nor "
                f"{MOVING}{self._other_transforms()}"
            )
        base_frame = self._plan.fusion.cycle.base_frame
        frames = {source.options.base_frame for source in asking} - {base_frame}
        if found and frames:
            self._notes.append(
                f"base_frame: poses are looked up in {', '.join(sorted(frames))}, the fused view "
                f"says {base_frame}"
            )
        return found

    def _other_transforms(self) -> str:
        others = sorted(
            name for name, topic in self._named.items() if self._bag.types_of(topic) == {TF_TYPE}
        )
        return f"; it has {', '.join(others)}: name them with --remap from:=to" if others else ""

    def _is_usable(self, name: str, expected: set[str]) -> bool:
        """Whether the messages of a topic can be read; if not, it is noted why."""
        topic = self._named[name]
        why = _problem(self._bag, topic, expected, self._decoder)
        if why:
            self._refused[topic] = why
        return not why

    def _why(self, name: str) -> str:
        return self._refused[self._named[name]]


def _one_way(source: SourcePlan, present: list[str]) -> tuple[list[str], list[str]]:
    """Return the topics that are read of a sensor recorded in several ways, and what to say."""
    topics = source.topics()
    ways = list(dict.fromkeys(topics[name].way for name in present))
    if source.options.way != AUTO:
        kept = [name for name in present if topics[name].way in ("", source.options.way)]
        left = [name for name in present if name not in kept]
        said = f"{source.name}: {', '.join(left)} not read: input is {source.options.way}"
        return kept, [said] if left else []
    if len(ways) < 2:
        return present, []
    best = [name for name in present if topics[name].way == ways[0]]
    rest = [name for name in present if name not in best]
    return present, [
        f"{source.name}: recorded in {len(ways)} ways: {', '.join(best)} is read, and "
        f"{', '.join(rest)} only where that is silent (parameter input)"
    ]


def _problem(bag: Recording, topic: str, expected: set[str], decoder: MessageDecoder) -> str:
    """Say why the messages of a topic cannot be used; empty: they can.

    Args:
        bag: the recording.
        topic: of it.
        expected: types that are of use; empty: whatever there is.
        decoder: of the recording.
    """
    skipped = next((item for item in bag.skipped if item.name == topic), None)
    types = bag.types_of(topic)
    if not types and skipped is not None:
        return f"topic {topic}: its {skipped.count} messages cannot be read: {skipped.reason}"
    if len(types) > 1:
        wanted = f"; expected {', '.join(sorted(expected))} throughout" if expected else ""
        return f"topic {topic} changes its type: {', '.join(sorted(types))}{wanted}"
    if expected and not types <= expected:
        return (
            f"topic {topic}: expected {', '.join(sorted(expected))}, got {', '.join(sorted(types))}"
        )
    if not bag.count(topic):
        return f"the recording declares {topic} and holds no message of it"
    unknown = [name for name in sorted(types) if not decoder.knows(name)]
    if unknown:
        return f"topic {topic}: unknown type {unknown[0]}: {decoder.why_unknown(unknown[0])}"
    return ""
