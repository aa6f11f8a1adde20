"""Causes that lie in which nodes run, how often, and in which state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from edge_perception.observe.doctor.observation import Cause, Observation

_SAYS_SOMETHING_S = 2.0  # diagnostics come once a second
_WAYS = {
    "unconfigured": "ros2 lifecycle set {node} configure, then activate; autostart: true does both",
    "inactive": "ros2 lifecycle set {node} activate",
    "finalized": "start the process of {node} again",
    "errorprocessing": "start the process of {node} again",
}


def _misnamed(seen: Observation) -> Iterator[Cause]:
    for node in seen.misnamed:
        yield Cause(
            code="node_name",
            text=f"{node} serves models and has none of the names by which nodes of the pipeline "
            "are found (SOURCE_encoder, fusion, model_manager): it is not looked at here, nor by "
            "metrics, top and record",
            fix="leave its name as it is, or call an encoder SOURCE_encoder, as "
            "lidar_front_encoder   (name of the launch file, -r __node:=)",
            about=node,
        )


def _no_nodes(seen: Observation) -> Iterator[Cause]:
    if seen.namespaces or seen.misnamed:
        return
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


def _namespace(seen: Observation) -> Iterator[Cause]:
    if seen.namespaces and seen.namespace not in seen.namespaces:
        listed = ", ".join(name or "/" for name in seen.namespaces)
        yield Cause(
            code="namespace",
            text=f"no node of the pipeline in namespace {seen.namespace or '/'}; there are some in "
            f"{listed}",
            fix=f"edge-perception doctor --namespace {seen.namespaces[0] or '/'}",
        )


def _twice(seen: Observation) -> Iterator[Cause]:
    twice = sorted(
        node for node, count in Counter(seen.nodes).items() if count > 1 and node in seen.states
    )
    if twice:
        yield Cause(
            code="two_launches",
            text=f"{', '.join(twice)}: there twice in ROS domain {seen.domain_id}: two launches "
            "mix their features and views",
            fix="end one of them, or give it a domain of its own (export ROS_DOMAIN_ID=...) or a "
            "namespace (namespace:=robot2)",
        )


def _strangers(seen: Observation) -> Iterator[Cause]:
    doubled = {node for node, count in Counter(seen.nodes).items() if count > 1}
    for topic, nodes in sorted(seen.outputs.items()):
        name = topic.removeprefix(f"{seen.namespace}/")
        source = name.removeprefix("features/")
        owner = f"{seen.namespace}/{'fusion' if source == name else source + '_encoder'}"
        others = [node for node in nodes if node != owner and node not in seen.misnamed]
        if others or (len(nodes) > 1 and owner not in doubled):
            also = f" besides {owner}" if owner in nodes else ""
            yield Cause(
                code="second_publisher",
                text=f"{topic}: {', '.join(others) or owner + ' twice'} publishes it{also}",
                fix=f"end {others[0] if others else 'one of them'}, or remap its topic: "
                f"--ros-args -r {topic}:={topic}_other",
                about=source,
            )


def _states(seen: Observation) -> Iterator[Cause]:
    for node, state in sorted(seen.states.items()):
        status = seen.of(node)
        if state in _WAYS and not (status is not None and "configure failed" in status.message):
            yield Cause(
                code="not_active",
                text=f"{node} is {state}"
                + (f": {status.message}" if status is not None and status.level > 1 else ""),
                fix=_WAYS[state].format(node=node),
                about=node,
            )
        elif status is None and seen.watched_s >= _SAYS_SOMETHING_S:
            yield Cause(
                code="node_silent",
                text=f"{node} said nothing on /diagnostics in {seen.watched_s:g} s"
                + ("" if state else ", and does not answer: it hangs, or has been killed"),
                fix=f"start the process of {node} again; its log tells where it hangs",
                about=node,
            )


NODE_RULES: tuple[Callable[[Observation], Iterator[Cause]], ...] = (
    _misnamed,
    _no_nodes,
    _namespace,
    _twice,
    _strangers,
    _states,
)
