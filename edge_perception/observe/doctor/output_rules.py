"""What the fused views say themselves, where no other cause explains it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from edge_perception.encoders.health import SILENT
from edge_perception.fusion.hybrid import NO_MODEL
from edge_perception.observe.doctor.observation import CLOCK, Cause, Observation

_SHARE = 0.1  # of the views: less is a hiccup
_ERROR = 2


def _levels(seen: Observation, found: Sequence[Cause]) -> Iterator[Cause]:
    """Fusion that works with less than it has."""
    reasons = Counter(
        view.level_reason
        for view in seen.views
        if view.level_reason and (view.level == "DECISION" or "feature space" in view.level_reason)
    )
    for reason, count in reasons.most_common(1):
        if count < _SHARE * len(seen.views):
            continue
        fusion = f"{seen.namespace}/fusion"
        model = str(seen.parameters.get(fusion, {}).get("model") or "")
        if reason.startswith(NO_MODEL) and not model:
            continue  # as it was asked for
        spaces = "feature space" in reason
        if not spaces and any(source in reason for source in ("contributes",)) and found:
            continue  # what silences the sources was said
        release = model.partition("/")[0] or "bev_lite"
        encoder = reason.partition(":")[0] if spaces else "SOURCE"
        yield Cause(
            code="feature_space" if spaces else "decision_level",
            text=f"fusion works with decisions instead of features in {count} of "
            f"{len(seen.views)} views: {reason}",
            fix=f"models of one set: model: {release}/{encoder.split('_')[0]}   (parameter of "
            f"{encoder}_encoder), or edge-perception models swap {release}"
            if spaces
            else f"edge-perception models verify {model or 'bev_lite/fusion'}; "
            "model: bev_lite/fusion   (parameter of fusion)",
            about=encoder if spaces else fusion,
        )


def _sources(seen: Observation, found: Sequence[Cause]) -> Iterator[Cause]:
    explained = {cause.about for cause in found}
    names = sorted({source.name for view in seen.views for source in view.sources})
    for name in names:
        of_it = [s for view in seen.views for s in view.sources if s.name == name]
        bad = [source for source in of_it if source.state != "OK"]
        still = of_it[-1].state != "OK"
        encoder = f"{seen.namespace}/{name}_encoder"
        if not bad or (len(bad) < _SHARE * len(of_it) and not still):
            continue
        if {name, encoder} & explained or (CLOCK in explained and encoder in seen.nodes):
            continue
        says = seen.of(encoder)
        text = f"{name}: {bad[-1].state} in {len(bad)} of {len(of_it)} views: {bad[-1].reason}"
        if says is not None and says.level:
            text += f"; {encoder} says: {says.message}"
        there = encoder in seen.nodes
        yield Cause(
            code="source_not_ok",
            text=text,
            fix=f"see to the driver of {name}; its limits are {name}.late_after_s, "
            f"{name}.stale_after_s and {name}.rate_hz   (parameters of fusion)"
            if there
            else f"{encoder} is not there: start it, or leave {name} out of fusion's sources",
            about=name,
        )


def _errors(seen: Observation, found: Sequence[Cause]) -> Iterator[Cause]:
    """Nodes that say of themselves that something is broken."""
    explained = {cause.about for cause in found}
    for node in sorted(seen.states):
        status = seen.of(node)
        source = node.rpartition("/")[2].removesuffix("_encoder")
        if status is None or status.level < _ERROR or {node, source} & explained:
            continue
        if source == "fusion" and found:
            continue  # it speaks of its sources
        if CLOCK in explained and SILENT in status.message:
            continue
        yield Cause(
            code="node_error",
            text=f"{node}: {status.message}",
            fix="the text says value and limit, and what is to be mended",
            about=node,
        )


def _views(seen: Observation, found: Sequence[Cause]) -> Iterator[Cause]:
    """Never silent while no valid view comes."""
    if found or not seen.states:
        return
    invalid = [view for view in seen.views if not view.valid]
    if not seen.views:
        yield Cause(
            code="no_output",
            text=f"no fused view in {seen.watched_s:g} s, and none of the known causes; the nodes "
            "say: " + "; ".join(f"{n}: {d.message}" for n, d in sorted(seen.diagnostics.items())),
            fix="start the nodes again with --log-level debug",
        )
    elif len(invalid) >= _SHARE * len(seen.views) or not seen.views[-1].valid:
        yield Cause(
            code="not_valid",
            text=f"{len(invalid)} of {len(seen.views)} views are not valid: {invalid[-1].reason}",
            fix="required sources are named in the degradation policy (parameter "
            "degradation_policy of fusion, config/degradation.yaml)",
        )


OUTPUT_RULES: tuple[Callable[[Observation, Sequence[Cause]], Iterator[Cause]], ...] = (
    _levels,
    _sources,
    _errors,
    _views,
)
