"""Which topic of a recording feeds which source, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.transforms import MOVING, STATIC, TF_TYPE
from edge_perception.encoders.pose import pose_of
from edge_perception.encoders.ways import AUTO
from edge_perception.fusion.odometry import ODOMETRY_TYPE
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.reader import Recording
from edge_perception.running.vehicle_plan import SourcePlan, VehiclePlan


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What the topics of a recording mean."""

    inputs: Mapping[str, str]  # topic of the recording -> source
    names: Mapping[str, str] = field(default_factory=dict)  # -> topic inside the vehicle
    calibrations: Mapping[str, str]  # topic of the recording -> source
    transforms: Mapping[str, bool] = field(default_factory=dict)  # topic -> they are static
    odometry: str = ""  # topic of the recording; empty: none is used
    ways: Mapping[str, str] = field(default_factory=dict)  # topic -> way of its source
    notes: tuple[str, ...] = ()  # what is missing

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics that are read."""
        odometry = {self.odometry} - {""}
        return tuple(sorted({*self.inputs, *self.calibrations, *self.transforms, *odometry}))


def parse_remaps(rules: Sequence[str]) -> dict[str, str]:
    """Read rules `from:=to`; `from` is a topic of the recording, or a namespace ending in /.

    Raises:
        ConfigurationError: a rule has another form.
    """
    remaps = {}
    for rule in rules:
        source, separator, target = rule.partition(":=")
        if not separator or not source.strip("/ ") or not target.strip():
            raise ConfigurationError(f"remap: expected from:=to, got '{rule}'")
        remaps["/" + source.strip().lstrip("/")] = "/" + target.strip().lstrip("/")
    return remaps


def bind(
    bag: Recording, plan: VehiclePlan, decoder: MessageDecoder, remaps: Mapping[str, str]
) -> Binding:
    """Match the topics of a recording with the inputs of the vehicle.

    Raises:
        ConfigurationError: nothing matches, or a topic that matches has a type that cannot be
            used.
    """
    for name in remaps:
        if not name.endswith("/") and name not in bag.topics:
            raise ConfigurationError(
                f"remap: {bag.path} has no topic '{name}'; it has {', '.join(sorted(bag.topics))}"
            )
    named = _named(bag, remaps, plan.namespace)
    inputs: dict[str, str] = {}
    calibrations: dict[str, str] = {}
    ways: dict[str, str] = {}
    notes = list(plan.notes)
    for source in plan.sources:
        wanted = source.topics()
        present, more = _one_way(source, [name for name in wanted if name in named])
        notes += more
        for name in present:
            _check_type(bag, named[name], {spec.type for n, spec in wanted.items() if n == name})
            _check_known(bag, named[name], decoder)
            inputs[named[name]] = source.name
            ways[named[name]] = wanted[name].way
        if not present:
            notes.append(f"{source.name}: the recording has none of {', '.join(wanted)}")
        calibration = source.calibration_topic
        if calibration and calibration in named:
            _check_known(bag, named[calibration], decoder)
            calibrations[named[calibration]] = source.name
        elif calibration and present:
            notes.append(
                f"{source.name}: the recording has no calibration on {calibration}; "
                "what needs it is refused"
            )
    if not inputs:
        raise ConfigurationError(
            f"{bag.path}: a recording of another robot? expected at least one of "
            f"{', '.join(t for s in plan.sources for t in s.topics())}; it has "
            f"{', '.join(sorted(bag.topics))}; name them with --remap from:=to"
        )
    transforms = _transforms(bag, plan, decoder, named, notes)
    odometry = named.get(plan.odometry_topic, "")
    if odometry:
        _check_type(bag, odometry, {ODOMETRY_TYPE})
        _check_known(bag, odometry, decoder)
    elif plan.odometry_topic:
        notes.append(f"the recording has no odometry on {plan.odometry_topic}: nothing is moved")
    return Binding(
        inputs=inputs,
        names={topic: name for name, topic in named.items()},
        calibrations=calibrations,
        transforms=transforms,
        odometry=odometry,
        ways=ways,
        notes=tuple(notes),
    )


def _named(bag: Recording, remaps: Mapping[str, str], namespace: str) -> dict[str, str]:
    """Return the topics of a recording by the name they have inside the nodes' namespace."""
    named = {_remapped(topic, remaps): topic for topic in sorted(bag.topics)}
    prefix = namespace.rstrip("/") + "/"
    inside = {
        f"/{name.removeprefix(prefix)}": t for name, t in named.items() if name.startswith(prefix)
    }
    return named | inside


def _transforms(
    bag: Recording,
    plan: VehiclePlan,
    decoder: MessageDecoder,
    named: Mapping[str, str],
    notes: list[str],
) -> dict[str, bool]:
    """Return the topics of tf, where a source has no pose of its own."""
    asking = [source for source in plan.sources if pose_of(source.spec, source.options).asks_tf]
    if not asking:
        return {}
    found = {}
    for name, static in ((STATIC, True), (MOVING, False)):
        if name in named:
            _check_type(bag, named[name], {TF_TYPE})
            _check_known(bag, named[name], decoder)
            found[named[name]] = static
    if not found:
        others = sorted(name for name in named if bag.types_of(named[name]) == {TF_TYPE})
        notes.append(
            f"{', '.join(source.name for source in asking)}: T_base_sensor is not set and the "
            f"recording has neither {STATIC} nor {MOVING}"
            + (f"; it has {', '.join(others)}: name them with --remap from:=to" if others else "")
        )
    frames = {source.options.base_frame for source in asking} - {plan.fusion.cycle.base_frame}
    if found and frames:
        notes.append(
            f"base_frame: poses are looked up in {', '.join(sorted(frames))}, the fused view says "
            f"{plan.fusion.cycle.base_frame}"
        )
    return found


def _remapped(topic: str, remaps: Mapping[str, str]) -> str:
    absolute = "/" + topic.lstrip("/")
    if absolute in remaps:
        return remaps[absolute]
    for prefix, target in remaps.items():
        if prefix.endswith("/") and absolute.startswith(prefix):
            return target.rstrip("/") + "/" + absolute[len(prefix) :]
    return absolute


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


def _check_type(bag: Recording, topic: str, expected: set[str]) -> None:
    types = bag.types_of(topic)
    if len(types) > 1:
        raise ConfigurationError(
            f"{bag.path}: topic {topic} changes its type: {', '.join(sorted(types))}; "
            f"expected {', '.join(sorted(expected))} throughout"
        )
    if not types <= expected:
        raise ConfigurationError(
            f"{bag.path}: topic {topic}: expected {', '.join(sorted(expected))}, "
            f"got {', '.join(sorted(types))}"
        )


def _check_known(bag: Recording, topic: str, decoder: MessageDecoder) -> None:
    for type_name in bag.types_of(topic):
        if not decoder.knows(type_name):
            raise ConfigurationError(
                f"{bag.path}: topic {topic}: unknown type {type_name}: "
                f"{decoder.why_unknown(type_name)}"
            )
