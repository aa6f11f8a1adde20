"""From what was seen to causes, each with the line to change. Pure functions of an observation.

Here: inputs and models. Of nodes, clocks and output speak the modules beside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from edge_perception.core.health import NOT_AS_ASKED
from edge_perception.encoders.arrivals import how_to_arrive
from edge_perception.encoders.health import BURSTS
from edge_perception.fusion.clock_watch import FAST_RATE
from edge_perception.observe.doctor.clock_rules import CLOCK_RULES
from edge_perception.observe.doctor.node_rules import NODE_RULES
from edge_perception.observe.doctor.observation import (
    Cause,
    Diagnosis,
    Endpoint,
    Input,
    Observation,
)
from edge_perception.observe.doctor.output_rules import OUTPUT_RULES
from edge_perception.observe.doctor.pose_rules import POSE_RULES

_PACKED = "/compressed"  # such topics follow those of the images
# Words in the names of topics of images that are no picture of a camera.
_NO_PICTURE = re.compile(
    r"depth|disparity|confidence|infra|mask|debug|label|segment|theora|zstd", re.I
)
_REFUSED = "refused: "
LEAST_FRAMES = 2.0  # that should have come until a driver counts as silent
LEAST_LOST, LEAST_LOST_SHARE = 2, 0.02
MIXED_RATE = 1.4  # times the expected one: two sensors make 2, a driver's own jitter does not


def causes(seen: Observation) -> list[Cause]:
    """Return every cause found, the most fundamental first."""
    found = [
        cause for rule in (*NODE_RULES, *RULES, *POSE_RULES, *CLOCK_RULES) for cause in rule(seen)
    ]
    for last in OUTPUT_RULES:
        found.extend(last(seen, tuple(found)))
    return found


def _publishers(seen: Observation) -> Iterator[Cause]:
    served = {item.source for item in seen.inputs if item.publishers and not item.calibration}
    for item in seen.inputs:
        right = [p for p in item.publishers if p.type == item.subscription.type]
        if item.publishers and not right:
            types = ", ".join(sorted({p.type for p in item.publishers}))
            yield Cause(
                code="wrong_type",
                text=f"{item.topic}: {item.node} expects {item.subscription.type}, "
                f"{item.publishers[0].node} publishes {types}",
                fix=f"{item.publishers[0].node}: publish {item.subscription.type} on {item.topic}",
                about=item.source,
            )
        elif not item.publishers and item.calibration:
            yield _no_calibration(item, f"nobody publishes {item.topic}", _others(seen, item))
        elif not item.publishers and item.source not in served:
            yield _nobody(seen, item)
            served.add(item.source)  # once a source, whichever of its topics comes first


def _nobody(seen: Observation, item: Input) -> Cause:
    fix = f"start the driver that publishes {item.topic}"
    for way in seen.inputs:  # a camera may publish compressed images only
        others = _others(seen, way) if way.source == item.source and not way.calibration else []
        if others:
            more = f"; or one of {', '.join(others[1:4])}" if len(others) > 1 else ""
            ours, theirs = way.topic, others[0]
            if ours.endswith(_PACKED) and theirs.endswith(_PACKED):  # camera_info follows, too
                ours, theirs = ours.removesuffix(_PACKED), theirs.removesuffix(_PACKED)
            fix = f"--ros-args -r {ours}:={theirs}   (on {way.node}{more})"
            break
    packed = _packed(seen, item)
    if packed:
        fix = (
            f"unpack {packed}: image_transport or point_cloud_transport republish, with its "
            f"plug-in; or let the driver publish {item.topic} too"
        )
    return Cause(
        code="no_publisher",
        text=f"{item.topic}: nobody publishes it ({item.subscription.type}, wanted by {item.node})",
        fix=fix,
        about=item.source,
    )


def _packed(seen: Observation, item: Input) -> str:
    """Name what is published below a topic by plug-ins of transport that nothing here reads."""
    ours = {(other.topic, other.subscription.type) for other in seen.inputs}
    return ", ".join(
        f"{name} ({types[0]})"
        for name, types in sorted(seen.topics.items())
        if name.startswith(f"{item.topic}/")
        and "depth" not in name.removeprefix(item.topic).lower()
        and not any((name, kind) in ours for kind in types)
    )


def _others(seen: Observation, item: Input) -> list[str]:
    """Return topics of an input's type that may be meant, the likeliest first."""
    taken = {other.topic for other in seen.inputs}
    found = (n for n, types in seen.topics.items() if item.subscription.type in types)
    end = item.topic.rpartition("/")[2]
    return sorted(
        (name for name in found if name not in taken),
        key=lambda name: (bool(_NO_PICTURE.search(name)), not name.endswith(f"/{end}"), name),
    )


def _no_calibration(item: Input, evidence: str, others: Sequence[str] = ()) -> Cause:
    fix = f"camera_info_url: file:///path/{item.source}.yaml   (parameter of the camera driver)"
    if others:  # it is told, and elsewhere
        more = f"; or one of {', '.join(others[1:4])}" if len(others) > 1 else ""
        fix = f"--ros-args -r {item.topic}:={others[0]}   (on {item.node}{more})"
    return Cause(
        code="no_calibration",
        text=f"{item.source}: no calibration: {evidence}",
        fix=fix,
        about=item.source,
    )


def _calibration_refused(seen: Observation) -> Iterator[Cause]:
    unserved = {i.source for i in seen.inputs if i.calibration and not i.publishers}
    for item in seen.inputs:
        if not item.calibration or item.source in unserved:
            continue
        status = seen.of(item.node)
        if status is not None and "camera_info" in status.message:
            yield _no_calibration(item, status.message)


def _qos(seen: Observation) -> Iterator[Cause]:
    for item in seen.inputs:
        for publisher in item.publishers:
            if publisher.type != item.subscription.type:
                continue
            if item.subscription.reliable and not publisher.reliable:
                yield Cause(
                    code="incompatible_qos",
                    text=f"{item.topic}: {publisher.node} publishes best effort, {item.node} asks "
                    "for reliable: nothing is delivered",
                    fix=f"{publisher.node}: reliability: reliable   (QoS of {item.topic})",
                    about=item.source,
                )
            if item.subscription.transient_local and not publisher.transient_local:
                yield Cause(
                    code="incompatible_qos",
                    text=f"{item.topic}: {publisher.node} publishes volatile, {item.node} asks "
                    "for transient local: nothing is delivered",
                    fix=f"{publisher.node}: durability: transient_local   (QoS of {item.topic})",
                    about=item.source,
                )


def _rmw(seen: Observation) -> Iterator[Cause]:
    for item in seen.inputs:
        for publisher in item.publishers:
            if publisher.vendor and publisher.vendor != item.subscription.vendor:
                yield Cause(
                    code="rmw_mismatch",
                    text=f"{item.topic}: {publisher.node} runs on {publisher.vendor}, {item.node} "
                    f"on {item.subscription.vendor}",
                    fix="export RMW_IMPLEMENTATION=rmw_fastrtps_cpp   (the same for every node)",
                )


def _silent(seen: Observation) -> Iterator[Cause]:
    """A driver that is there and publishes nothing."""
    heard = {item.source for item in seen.inputs if item.stamps and not item.calibration}
    for item in seen.inputs:
        fitting = [p for p in item.publishers if _fits(item, p)]
        rate_hz = _float(seen.parameters.get(item.node, {}).get("rate_hz")) or 1.0
        if item.source in heard or item.calibration or not fitting:
            continue
        if seen.simulated(item.node) and seen.clock_stands:
            continue  # it waits as all do
        if seen.watched_s * rate_hz < LEAST_FRAMES:
            continue  # too slow a sensor to say
        status = seen.of(item.node)
        if status is not None and status.grown(f"received {item.topic}"):
            continue  # it came, and only we heard nothing
        heard.add(item.source)
        yield Cause(
            code="silent_driver",
            text=f"{item.topic}: {fitting[0].node} is there and published nothing in "
            f"{seen.watched_s:g} s",
            fix=f"see to the sensor of {fitting[0].node}: power, cable, address, firewall; "
            f"then: ros2 topic hz {item.topic}",
            about=item.source,
        )


def _fits(item: Input, publisher: Endpoint) -> bool:
    mine = item.subscription
    return (
        publisher.type == mine.type
        and (publisher.reliable or not mine.reliable)
        and (publisher.transient_local or not mine.transient_local)
    )


def _mixed(seen: Observation) -> Iterator[Cause]:
    """Several publishers of one topic, whose frames come mixed and not as one sensor's would."""
    for item in seen.inputs:
        fitting = [p for p in item.publishers if _fits(item, p)]
        if item.calibration or len(fitting) < 2:
            continue
        stamps = [stamp for stamp, _ in item.stamps]
        back = sum(after < before for before, after in pairwise(stamps))
        wanted = _float(seen.parameters.get(item.node, {}).get("rate_hz"))
        fast = bool(wanted) and len(stamps) > MIXED_RATE * (wanted or 0.0) * seen.watched_s
        if not back and not fast:
            continue  # one of them may be gone, or in reserve
        names = sorted({p.node for p in fitting})
        who = " and ".join(names) if len(names) > 1 else f"{len(fitting)} of {names[0]}"
        shown = f"stamps went back {back} times" if back else f"expected {wanted:g} Hz"
        yield Cause(
            code="two_publishers",
            text=f"{item.topic}: {who} publish on it, {len(stamps)} messages in "
            f"{seen.watched_s:g} s ({shown}): frames of several sensors come as if of one",
            fix=f"end one of them; or give each a topic and a source of its own, such as "
            f"sources: [{item.source}, {item.source}_2] (README, several sensors of one kind)",
            about=item.source,
        )


def _lost(seen: Observation) -> Iterator[Cause]:
    for item in seen.inputs:
        status = seen.of(item.node)
        if status is None or item.calibration:
            continue
        lost, got = (status.grown(f"{key} {item.topic}") for key in ("lost", "received"))
        if lost >= LEAST_LOST and lost >= LEAST_LOST_SHARE * (lost + got):
            yield Cause(
                code="frames_lost",
                text=f"{item.topic}: {lost} of {lost + got} messages that {_publisher(item)} sent "
                f"in {seen.watched_s:g} s never reached {item.node}",
                fix=how_to_arrive(item.topic),
                about=item.source,
            )


def _too_fast(seen: Observation) -> Iterator[Cause]:
    for name, status in sorted(seen.diagnostics.items()):
        rate, wanted = _number(status.values, "rate_hz"), _number(status.values, "input_rate_hz")
        dropped = _number(status.values, "dropped")
        if _given_up(status) or status.message.startswith(_REFUSED):
            continue  # told with what is done about it, and what is refused is not processed
        if seen.simulated(f"/{name}") and (seen.clock_rate or 0.0) > FAST_RATE:
            continue  # told of the clock
        if rate is None or wanted is None or not dropped or rate >= 0.8 * wanted:
            continue
        if status.values.get("arrival") == BURSTS:
            yield Cause(
                code="bursts",
                text=f"{name}: {wanted:.1f} messages a second arrive {BURSTS}, and of each the "
                f"newest counts: {rate:.1f} are processed, {dropped:.0f} dropped",
                fix="let the driver publish each frame when it has it, not several at once; look "
                "for what holds them up: its buffers, Wi-Fi that saves power, a bridge or relay",
                about=f"/{name}",
            )
            continue
        yield Cause(
            code="too_fast",
            text=f"{name}: {wanted:.1f} frames a second arrive, {rate:.1f} are processed, "
            f"{dropped:.0f} dropped ({status.values.get('processing_ms_p95', '?')} ms a frame)",
            fix=f"threads: 2   (parameter of {name}), a smaller model, or a slower sensor",
            about=f"/{name}",
        )


def _load_control(seen: Observation) -> Iterator[Cause]:
    """Sources that give something up, by plan, because their frames take too long."""
    for name, status in sorted(seen.diagnostics.items()):
        if _given_up(status):
            yield Cause(
                code="load_control",
                text=f"{name}: {status.message}; frames take "
                f"{status.values.get('load_time_ms_p80', '?')} ms (p80), load.budget_ms is "
                f"{status.values.get('load_budget_ms', '?')} ms",
                fix=f"less load beside it, threads: 2 (parameter of {name}), a cheaper model, or "
                "a larger load.budget_ms",
                about=f"/{name}",
            )


def _given_up(status: Diagnosis) -> bool:
    return not status.values.get("load_step", "0 of").startswith("0 of")


def _models(seen: Observation) -> Iterator[Cause]:
    for name, status in sorted(seen.diagnostics.items()):
        if "unsigned" in status.message:
            yield Cause(
                code="model_unsigned",
                text=f"{name}: {status.message}",
                fix="edge-perception models sign BUNDLE --key KEY",
                about=f"/{name}",
            )
        elif "configure failed" in status.message and "model" in status.message:
            yield Cause(
                code="model_missing",
                text=f"{name}: {status.message}",
                fix=f"model: bev_lite/{name.split('/')[-1].split('_')[0]}   "
                f"(parameter of {name}; edge-perception models list shows what there is)",
                about=f"/{name}",
            )
        elif "configure failed" in status.message:
            yield Cause(
                code="configure_failed",
                text=f"{name}: {status.message}",
                fix=f"mend what the text names, then: ros2 lifecycle set /{name} configure",
                about=f"/{name}",
            )


# The provider that a runtime has wherever it runs, where it is not ONNX Runtime's.
_ALWAYS_THERE = {"openvino": "CPU", "tensorrt": "cuda:0"}


def _not_as_asked(seen: Observation) -> Iterator[Cause]:
    """A model that runs, and otherwise than the parameters of its node ask for."""
    for name, status in sorted(seen.diagnostics.items()):
        note = status.values.get(NOT_AS_ASKED)
        if not note:
            continue
        change = f"provider: {_ALWAYS_THERE.get(_runtime(status), 'CPUExecutionProvider')}"
        if "device plan" in note:
            change = "device_plan: ''"
        elif "precision" in note:
            change = "precision: auto"
        elif "compile_cache" in note:
            change = "compile_cache: ''"
        elif "preprocess" in note:
            change = "preprocess: cpu"
        elif "CUDA graph" in note:
            change = "provider_options without tensorrt.cuda_graph"
        elif "does not serve" in note:
            change = "start the server that is named again"
        yield Cause(
            code="provider_fell_back",
            text=f"{name}: {note}; {status.values.get('provider', 'another')} runs it",
            fix=f"{change}   (parameter of {name}), or install the runtime that has what was asked "
            "for; edge-perception devices shows what there is",
            about=f"/{name}",
        )


def _runtime(status: Diagnosis) -> str:
    return status.values.get("runtime", "").partition(" ")[0]


def _shared_memory(seen: Observation) -> Iterator[Cause]:
    if seen.shared_memory_problem:
        yield Cause(
            code="shared_memory",
            text=seen.shared_memory_problem,
            fix="mount -o remount,size=1G /dev/shm   (in a container: --shm-size=1g)",
        )


def _refused(seen: Observation) -> Iterator[Cause]:
    for name, status in sorted(seen.diagnostics.items()):
        if status.message.startswith(_REFUSED) and "camera_info" not in status.message:
            yield Cause(
                code="refused",
                text=f"{name}: {status.message}",
                fix="the text says what was expected: change the driver of this sensor",
                about=f"/{name}",
            )


def _publisher(item: Input) -> str:
    return item.publishers[0].node if item.publishers else "its publisher"


def _number(values: Mapping[str, str], key: str) -> float | None:
    return _float(values.get(key))


def _float(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


RULES: tuple[Callable[[Observation], Iterator[Cause]], ...] = (
    _publishers,
    _qos,
    _rmw,
    _silent,
    _mixed,
    _calibration_refused,
    _models,
    _not_as_asked,
    _refused,
    _lost,
    _too_fast,
    _load_control,
    _shared_memory,
)
