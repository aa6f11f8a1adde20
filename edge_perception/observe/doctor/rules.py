"""From what was seen to causes, each with the line to change. Pure functions of an observation."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping

from edge_perception.observe.doctor.observation import Cause, Diagnosis, Input, Observation

NS = 1_000_000_000
OTHER_CLOCK_S = 2.0  # no transport is this slow


def causes(seen: Observation) -> list[Cause]:
    """Return every cause found, the most fundamental first."""
    return [cause for rule in RULES for cause in rule(seen)]


def _no_nodes(seen: Observation) -> Iterator[Cause]:
    if any(node.endswith(("fusion", "_encoder")) for node in seen.nodes):
        return
    if seen.other_domains:
        listed = ", ".join(map(str, seen.other_domains))
        yield Cause(
            code="domain_mismatch",
            text=f"no node of the pipeline in ROS domain {seen.domain_id}; on this machine there "
            f"is ROS traffic in domain {listed}",
            fix=f"export ROS_DOMAIN_ID={seen.other_domains[0]}",
        )
    else:
        yield Cause(
            code="not_running",
            text=f"no node of the pipeline in ROS domain {seen.domain_id}",
            fix="ros2 launch edge_perception perception.launch.py   (or: edge-perception run)",
        )


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
            )
        elif not item.publishers and item.calibration:
            yield _no_calibration(item, f"nobody publishes {item.topic}")
        elif not item.publishers and item.source not in served:
            yield _nobody(seen, item)
            served.add(item.source)  # once a source, whichever of its topics comes first


def _nobody(seen: Observation, item: Input) -> Cause:
    others = [
        name
        for name, types in sorted(seen.topics.items())
        if item.subscription.type in types and name != item.topic
    ]
    fix = f"start the driver that publishes {item.topic}"
    if others:
        fix = f"--ros-args -r {item.topic}:={others[0]}   (on {item.node})"
    return Cause(
        code="no_publisher",
        text=f"{item.topic}: nobody publishes it ({item.subscription.type}, wanted by {item.node})",
        fix=fix,
    )


def _no_calibration(item: Input, evidence: str) -> Cause:
    return Cause(
        code="no_calibration",
        text=f"{item.source}: no calibration: {evidence}",
        fix=f"camera_info_url: file:///path/{item.source}.yaml   (parameter of the camera driver)",
    )


def _calibration_refused(seen: Observation) -> Iterator[Cause]:
    unserved = {i.source for i in seen.inputs if i.calibration and not i.publishers}
    for item in seen.inputs:
        if not item.calibration or item.source in unserved:
            continue
        status = _status_of(seen, item.node)
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
                )
            if item.subscription.transient_local and not publisher.transient_local:
                yield Cause(
                    code="incompatible_qos",
                    text=f"{item.topic}: {publisher.node} publishes volatile, {item.node} asks "
                    "for transient local: nothing is delivered",
                    fix=f"{publisher.node}: durability: transient_local   (QoS of {item.topic})",
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


def _sim_time(seen: Observation) -> Iterator[Cause]:
    simulated = sorted(node for node, value in seen.sim_time.items() if value)
    if simulated and not seen.clock_publishers:
        yield Cause(
            code="sim_time_without_clock",
            text=f"use_sim_time is true on {', '.join(simulated)} and nobody publishes /clock: "
            "their time stands still at zero",
            fix="use_sim_time: false   (or play with: edge-perception play BAG --clock)",
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
            )
            continue
        ages = [(arrival - stamp) / NS for stamp, arrival in item.stamps if stamp]
        age_s = statistics.median(ages)
        if seen.sim_time.get(item.node):
            continue  # its time is the recording's
        if abs(age_s) > OTHER_CLOCK_S:
            word = "old" if age_s > 0 else "in the future"
            yield Cause(
                code="other_clock",
                text=f"{item.topic}: stamps are {abs(age_s):.1f} s {word} on arrival: "
                f"{_publisher(item)} stamps by another clock",
                fix="chronyc makestep   (on both machines), or use_sim_time: true and "
                f"play --clock for a recording, or {item.source}.time_offset_s: {age_s:.2f}",
            )


def _too_fast(seen: Observation) -> Iterator[Cause]:
    for name, status in sorted(seen.diagnostics.items()):
        rate, wanted = _number(status.values, "rate_hz"), _number(status.values, "input_rate_hz")
        dropped = _number(status.values, "dropped")
        if rate is None or wanted is None or not dropped or rate >= 0.8 * wanted:
            continue
        yield Cause(
            code="too_fast",
            text=f"{name}: {wanted:.1f} frames a second arrive, {rate:.1f} are processed, "
            f"{dropped:.0f} dropped ({status.values.get('processing_ms_p95', '?')} ms a frame)",
            fix=f"threads: 2   (parameter of {name}), a smaller model, or a slower sensor",
        )


def _models(seen: Observation) -> Iterator[Cause]:
    for name, status in sorted(seen.diagnostics.items()):
        if "configure failed" in status.message:
            yield Cause(
                code="model_missing",
                text=f"{name}: {status.message}",
                fix=f"model: bev_lite/{name.split('/')[-1].split('_')[0]}   "
                f"(parameter of {name}; edge-perception models list shows what there is)",
            )
        if "fell back" in status.message:
            yield Cause(
                code="provider_fell_back",
                text=f"{name}: {status.message}",
                fix=f"provider: CPUExecutionProvider   (parameter of {name}), or install the "
                "runtime that has the provider",
            )
        if "unsigned" in status.message:
            yield Cause(
                code="model_unsigned",
                text=f"{name}: {status.message}",
                fix="edge-perception models sign BUNDLE --key KEY",
            )


def _shared_memory(seen: Observation) -> Iterator[Cause]:
    if seen.shared_memory_problem:
        yield Cause(
            code="shared_memory",
            text=seen.shared_memory_problem,
            fix="mount -o remount,size=1G /dev/shm   (in a container: --shm-size=1g)",
        )


def _refused(seen: Observation) -> Iterator[Cause]:
    for name, status in sorted(seen.diagnostics.items()):
        if status.message.startswith("refused: ") and "camera_info" not in status.message:
            yield Cause(
                code="refused",
                text=f"{name}: {status.message}",
                fix="the text says what was expected: change the driver of this sensor",
            )


def _status_of(seen: Observation, node: str) -> Diagnosis | None:
    return seen.diagnostics.get(node.lstrip("/"))


def _publisher(item: Input) -> str:
    return item.publishers[0].node if item.publishers else "its publisher"


def _number(values: Mapping[str, str], key: str) -> float | None:
    try:
        return float(values[key])
    except (KeyError, ValueError):
        return None


RULES: tuple[Callable[[Observation], Iterator[Cause]], ...] = (
    _no_nodes,
    _publishers,
    _qos,
    _rmw,
    _sim_time,
    _stamps,
    _calibration_refused,
    _models,
    _refused,
    _too_fast,
    _shared_memory,
)
