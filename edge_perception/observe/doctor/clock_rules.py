"""Causes that lie in clocks and stamps."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from edge_perception.fusion.config import SourceConfig
from edge_perception.observe.doctor.observation import Cause, Input, Observation

NS = 1_000_000_000
OTHER_CLOCK_S = 2.0  # no transport is this slow
_FRACTION_NS, _LEAST_A_SECOND = 2_000_000, 2  # a sensor of 1 or 2 Hz may be in step with seconds
_OFFSET = SourceConfig.__dataclass_fields__["time_offset_s"].metadata


def _sim_time(seen: Observation) -> Iterator[Cause]:
    simulated = sorted(node for node in seen.parameters if seen.simulated(node))
    others = sorted(node for node in seen.parameters if node not in simulated)
    if simulated and not seen.clock_publishers:
        yield Cause(
            code="sim_time_without_clock",
            text=f"use_sim_time is true on {', '.join(simulated)} and nobody publishes /clock: "
            "their time stands still at zero",
            fix="use_sim_time: false   (or play with: edge-perception play BAG --clock)",
        )
    elif simulated and others:
        yield Cause(
            code="mixed_clocks",
            text=f"use_sim_time is true on {', '.join(simulated)} and false on "
            f"{', '.join(others)}: they live in two times",
            fix="use_sim_time: true   (the same for all: in the section /** of the parameter file)",
        )


def _node_clocks(seen: Observation) -> Iterator[Cause]:
    for name, status in sorted(seen.diagnostics.items()):
        node = f"/{name}"
        if node not in seen.states or seen.simulated(node) or abs(status.clock_s) < OTHER_CLOCK_S:
            continue
        word = "ahead of" if status.clock_s > 0 else "behind"
        yield Cause(
            code="node_clock",
            text=f"{node}: its clock is {abs(status.clock_s):.1f} s {word} ours",
            fix="chronyc makestep   (on both machines)",
            about=node,
        )


def _stamps(seen: Observation) -> Iterator[Cause]:
    for item in seen.inputs:
        if not item.stamps or item.calibration:
            continue
        if all(stamp == 0 for stamp, _ in item.stamps):
            yield Cause(
                code="zero_stamps",
                text=f"{item.topic}: the stamp of all {len(item.stamps)} messages is zero",
                fix=f"{_publisher(item)}: msg.header.stamp = node.get_clock().now().to_msg()",
                about=item.source,
            )
            continue
        if _lacks_fractions([stamp for stamp, _ in item.stamps]):
            yield Cause(
                code="stamp_unit",
                text=f"{item.topic}: none of {len(item.stamps)} stamps is more than 2 ms past a "
                "second: microseconds where nanoseconds belong?",
                fix=f"{_publisher(item)}: msg.header.stamp = node.get_clock().now().to_msg()",
                about=item.source,
            )
            continue
        age_s = statistics.median((arrival - stamp) / NS for stamp, arrival in item.stamps if stamp)
        set_s = _offset_s(seen, item)
        if seen.simulated(item.node):
            continue  # its time is the recording's
        if abs(age_s - set_s) > OTHER_CLOCK_S:
            word = "old" if age_s > 0 else "in the future"
            yield Cause(
                code="other_clock",
                text=f"{item.topic}: stamps are {abs(age_s):.1f} s {word} on arrival"
                f"{f', and {item.source}.time_offset_s is {set_s:g}' if set_s else ''}: "
                f"{_publisher(item)} stamps by another clock",
                fix=_same_clock(item, age_s),
                about=item.source,
            )


def _lacks_fractions(stamps: list[int]) -> bool:
    """Whether stamps of many a second lie right behind whole seconds, as no sensor's do."""
    seconds = {stamp // NS for stamp in stamps}
    return (
        len(seconds) > 1
        and len(stamps) > _LEAST_A_SECOND * len(seconds)
        and max(stamp % NS for stamp in stamps) < _FRACTION_NS
    )


def _offset_s(seen: Observation, item: Input) -> float:
    """Return by how much fusion moves the stamps of a source already, s."""
    fusion = f"{item.node.rpartition('/')[0]}/fusion"
    value = seen.parameters.get(fusion, {}).get(f"{item.source}.time_offset_s")
    return value if isinstance(value, float) else 0.0


def _same_clock(item: Input, age_s: float) -> str:
    fix = (
        "chronyc makestep   (on both machines), or let the driver stamp by the clock of its host, "
        "or use_sim_time: true and play --clock for a recording"
    )
    if _OFFSET["min"] <= age_s <= _OFFSET["max"]:
        fix += f", or {item.source}.time_offset_s: {age_s:.2f}   (parameter of fusion)"
    return fix


def _publisher(item: Input) -> str:
    return item.publishers[0].node if item.publishers else "its publisher"


CLOCK_RULES: tuple[Callable[[Observation], Iterator[Cause]], ...] = (
    _sim_time,
    _node_clocks,
    _stamps,
)
