"""Causes that lie in clocks and stamps."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from itertools import pairwise

from edge_perception.fusion.clock_watch import FAST_RATE, SLOW_RATE
from edge_perception.fusion.config import SourceConfig
from edge_perception.fusion.state import AHEAD_S, TOO_OLD
from edge_perception.fusion.time_scales import scale_told
from edge_perception.observe.doctor.observation import CLOCK, Cause, Input, Observation

NS = 1_000_000_000
_HICCUP = 0.1  # of the views
COARSE_S = 0.15  # stamps may be 0.2 s ahead (max_future_s of fusion)
OTHER_CLOCK_S = 2.0  # no transport is this slow
OLD_S = 0.2  # a transport may be, which is worth a word where fusion finds the evidence too old
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


def _clock(seen: Observation) -> Iterator[Cause]:
    """What /clock itself does, where nodes follow it."""
    if not any(seen.simulated(node) for node in seen.parameters) or not seen.clock_publishers:
        return
    nodes = ", ".join(seen.clock_publishers)
    back_ns = max((a - b for (a, _), (b, _) in pairwise(seen.clock)), default=0)
    rate = seen.clock_rate
    if seen.clock_stands:
        at = f"its time stands still at {seen.clock[-1][0] / NS:.3f} s" if seen.clock else ""
        yield Cause(
            code="clock_stands_still",
            text=f"/clock: {nodes} is there and "
            + (at or "published nothing")
            + f" in {seen.watched_s:g} s: no sensor and no node goes on",
            fix=f"let {nodes} run: a simulation or a player that is paused, or has not begun",
            about=CLOCK,
        )
    elif len(seen.clock_publishers) > 1 and back_ns > 0:
        yield Cause(
            code="two_clocks",
            text=f"/clock: {nodes} publish it, and its time goes back by up to {back_ns / NS:.3g} "
            "s: all who follow it jump from one to the other",
            fix="end one of them; a recording that holds /clock is played without "
            "--clock, or without its own (ros2 bag play --exclude-topics /clock)",
            about=CLOCK,
        )
    elif back_ns > 0 and _not_ok(seen):
        yield Cause(
            code="clock_went_back",
            text=f"/clock of {nodes} went back by {back_ns / NS:.3g} s while watching: a recording "
            "in a loop, or a simulation that was reset; for a moment nothing fits together",
            fix="play it once, or stamped anew: edge-perception play BAG --restamp --loop",
            about=CLOCK,
        )
    elif rate is not None and rate > FAST_RATE and _not_ok(seen):
        yield Cause(
            code="fast_clock",
            text=f"/clock of {nodes} runs at {rate:.2g} times real time: frames come and evidence "
            "grows old so much faster, and models do not run so",
            fix="play more slowly: --rate 1",
            about=CLOCK,
        )
    elif (step_s := _step_s(seen)) > COARSE_S and _not_ok(seen):
        yield Cause(
            code="coarse_clock",
            text=f"/clock of {nodes} comes every {step_s:.2g} s: between two of its messages "
            "stamps are ahead of it",
            fix="let it come 50 times a second or more (ros2 bag play --clock 100, edge-perception "
            "play --clock 100)",
            about=CLOCK,
        )
    elif rate is not None and 0 < rate < SLOW_RATE and _not_ok(seen):
        yield Cause(
            code="slow_clock",
            text=f"/clock of {nodes} runs at {rate:.2g} of real time, and how long sources may be "
            "silent is in real time: a sensor of 10 Hz there comes "
            f"{10 * rate:.2g} times a second",
            fix="SOURCE.rate_hz of fusion and rate_hz of the encoders: the rate in real time, or "
            "let the simulation run faster",
            about=CLOCK,
        )


def _step_s(seen: Observation) -> float:
    """Return by how much the time on /clock goes on from message to message, median."""
    steps = [b - a for (a, _), (b, _) in pairwise(seen.clock) if b > a]
    return statistics.median(steps) / NS if steps else 0.0


def _not_ok(seen: Observation) -> bool:
    """Whether something is wrong with sources in more than a hiccup of views."""
    bad = sum(any(source.state != "OK" for source in view.sources) for view in seen.views)
    return bad > _HICCUP * len(seen.views)


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
        yield from _other_clock(seen, item)


def _other_clock(seen: Observation, item: Input) -> Iterator[Cause]:
    """Stamps that no transport explains, by the time that the encoder lives in."""
    simulated, set_s = seen.simulated(item.node), _offset_s(seen, item)
    ages_s = [(arrival - stamp) / NS for stamp, arrival in item.stamps if stamp]
    times = zip(item.stamps, item.clock_ns, strict=False)
    simulated_s = [(time - stamp) / NS for (stamp, _), time in times if stamp and time]
    if simulated and (2 * len(simulated_s) <= len(ages_s) or len(seen.clock_publishers) != 1):
        return  # its time is not known here
    # By the clock of its node: ours may be another, which is told of the node.
    ours_s = 0.0 if simulated or (status := seen.of(item.node)) is None else status.clock_s
    known_s = [age_s + ours_s - set_s for age_s in (simulated_s if simulated else ages_s)]
    age_s = statistics.median(known_s) + set_s
    if _within(seen, item, known_s, simulated=simulated):
        return
    word = "old" if age_s > 0 else "in the future"
    scale = "" if simulated else scale_told(-age_s)
    why = f"stamps by another clock ({scale})" if scale else "stamps by another clock"
    fix = _same_clock(item, age_s, scale)
    if simulated:
        is_system = abs(statistics.median(ages_s)) <= OTHER_CLOCK_S
        why = "stamps by the system's time" if is_system else "does not follow it"
        fix = f"use_sim_time: true   (on {_publisher(item)}, as on {item.node})"
    elif simulated_s and abs(statistics.median(simulated_s)) <= OTHER_CLOCK_S:
        why = f"stamps by /clock of {', '.join(seen.clock_publishers)}, which nodes do not follow"
        fix = "use_sim_time: true   (in the section /** of the parameter file)"
    yield Cause(
        code="other_clock",
        text=f"{item.topic}: stamps are {_seconds(abs(age_s))} {word}"
        f"{' by /clock' if simulated else ''} on arrival"
        f"{f', and {item.source}.time_offset_s is {set_s:g}' if set_s else ''}: "
        f"{_publisher(item)} {why}",
        fix=fix,
        about=item.source,
    )


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < OTHER_CLOCK_S else f"{value:.1f} s"


def _within(seen: Observation, item: Input, ages_s: list[float], *, simulated: bool) -> bool:
    """Whether a way to here explains ages on arrival; nothing arrives before its time."""
    age_s = statistics.median(ages_s)
    if simulated:  # /clock itself goes in steps
        return abs(age_s) <= OTHER_CLOCK_S
    too_old = any(
        source.name == item.source and source.reason.startswith(TOO_OLD)
        for view in seen.views
        for source in view.sources
    )
    if too_old and min(ages_s) > OLD_S:  # what is held up and comes in bursts has young ones too
        return False
    return -AHEAD_S <= age_s <= OTHER_CLOCK_S


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


def _same_clock(item: Input, age_s: float, scale: str) -> str:
    if scale:  # no clock is off: what turns it into UTC is missing
        return "give its sensor time in UTC, or let the driver stamp by the clock of its host"
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
    _clock,
    _node_clocks,
    _stamps,
)
