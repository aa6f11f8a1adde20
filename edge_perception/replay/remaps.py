"""Names of a recording's topics as the vehicle calls them.

A rule for images moves what belongs to them, as in the nodes: `compressed` below their topic and
`camera_info` beside it. A rule for one of these comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.reader import Recording
from edge_perception.running.vehicle_plan import SourcePlan, VehiclePlan


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
        remaps[_absolute(source.strip())] = _absolute(target.strip())
    return remaps


def named_topics(bag: Recording, plan: VehiclePlan, remaps: Mapping[str, str]) -> dict[str, str]:
    """Return the topics of a recording by the name they have inside the nodes' namespace.

    Raises:
        ConfigurationError: a rule is for a topic that the recording does not have.
    """
    recorded = {_absolute(topic) for topic in bag.counts}
    prefix = plan.namespace.rstrip("/") + "/"
    rules = dict(remaps)
    told = {_absolute(target.removeprefix(prefix)) for target in remaps.values()}
    for source in plan.sources:
        for moved, name in _belonging(source, prefix, remaps, recorded):
            if name not in told:
                rules.setdefault(moved, name)
    for name, target in remaps.items():
        if name.endswith("/") or name in recorded:
            continue
        if not any(rule.startswith(f"{name}/") for rule in rules if rule in recorded):
            raise ConfigurationError(
                f"remap: {bag.path} has no topic '{name}' to be {target}; it has "
                f"{', '.join(sorted(bag.counts))}"
            )
    named: dict[str, str] = {}
    moved_names: dict[str, str] = {}  # they take the place of what has the name already
    for topic in sorted(bag.counts):
        absolute = _absolute(topic)
        name = _remapped(absolute, rules)
        (named if name == absolute else moved_names)[name] = topic
    named |= moved_names
    inside = {
        f"/{name.removeprefix(prefix)}": t for name, t in named.items() if name.startswith(prefix)
    }
    return named | inside


def _belonging(
    source: SourcePlan, prefix: str, remaps: Mapping[str, str], recorded: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield what moves along with the rules for a source's topics, as (from, to)."""
    frames = [name for name, spec in source.topics().items() if not spec.latched]
    base, calibration = frames[0], source.calibration_topic
    last = calibration.rpartition("/")[2]
    for given, target in remaps.items():
        name = _absolute(target.removeprefix(prefix))
        if name not in frames or given.endswith("/"):
            continue
        below = name.removeprefix(base)
        own = given.removesuffix(below) if below.startswith("/") else given
        for frame in frames:
            if name == base and frame.startswith(f"{base}/"):
                yield own + frame.removeprefix(base), frame
        # Some drivers have no topic of raw images: the compressed ones lie beside camera_info.
        beside = (f"{topic.rpartition('/')[0]}/{last}" for topic in (own, given))
        found = next((topic for topic in beside if topic in recorded), "")
        if calibration and found:
            yield found, calibration


def _absolute(name: str) -> str:
    return "/" + name.lstrip("/")


def _remapped(topic: str, rules: Mapping[str, str]) -> str:
    if topic in rules:
        return rules[topic]
    for prefix, target in rules.items():
        if prefix.endswith("/") and topic.startswith(prefix):
            return target.rstrip("/") + "/" + topic[len(prefix) :]
    return topic
