"""A fused view as the spans of one trace.

All times are those that the nodes measured and published; nothing is measured here. Pure: of a
message only its fields are read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_perception.core.types import Mode, SourceState
from edge_perception.observe.metrics.catalogue import STAGES
from edge_perception.running.node_parameters import ENCODER, FUSION

_HALF = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class Span:
    """A time in a node."""

    name: str
    node: str  # whose time it is
    trace_id: int  # 128 bits
    span_id: int  # 64 bits
    parent_id: int = 0  # 0: the root of its trace
    start_ns: int  # node clock
    end_ns: int
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    fault: str = ""  # why the span is marked as an error


def trace_id(stamp_ns: int, vehicle: str) -> int:
    """Return the id of the trace of a view.

    Its first half is the acquisition stamp of the view, in hexadecimal digits, so that a trace is
    found from a message or a log. The second half tells vehicles apart, and is as random as
    samplers of collectors want it.

    Args:
        stamp_ns: the stamp in the header of the view.
        vehicle: its name.
    """
    return (stamp_ns & _HALF) << 64 | _hash(vehicle, stamp_ns)


def spans_of(view: Any, vehicle: str) -> list[Span]:
    """Return the spans of a view, the root first.

    The root lasts from the oldest acquisition stamp that contributed to the publication. In it are
    a span for each source that contributed (from its stamp to the end of its encoder, with its
    stages), and the cycle of fusion: waiting, and fusing. A view that nothing contributed to has
    the cycle alone.

    Args:
        view: a FusedPerception as it arrived.
        vehicle: its name.
    """
    stamp_ns = _ns(view.header.stamp)
    sources = [status for status in view.sources if status.contributed]
    starts = [_ns(status.inferred_stamp) or _ns(status.stamp) for status in sources]
    known = bool(starts) and math.isfinite(view.end_to_end_s)
    cycle_s = _finite(view.wait_s) + _finite(view.fusion_s)
    # The end is not in the message: the oldest stamp and the age at publication tell it. Without
    # them nothing does, and the stamp is of the closing.
    start_ns = min(starts) if known else stamp_ns - _whole_ns(cycle_s)
    end_ns = start_ns + _whole_ns(view.end_to_end_s if known else cycle_s)
    trace = trace_id(stamp_ns, vehicle)

    def named(*parts: object) -> int:
        return _hash(vehicle, stamp_ns, view.sequence, *parts)

    root = Span(
        name="fused view",
        node=FUSION,
        trace_id=trace,
        span_id=named(),
        start_ns=start_ns,
        end_ns=end_ns,
        attributes=_of_view(view, stamp_ns),
        fault=_fault(view),
    )
    spans = [root]
    for status in sources:
        spans += _of_source(status, root, named)
    fusing_ns = end_ns - _whole_ns(view.fusion_s)
    waiting_ns = fusing_ns - _whole_ns(view.wait_s)
    for name, begin_ns, finish_ns in (
        ("wait", waiting_ns, fusing_ns),
        ("fusion", fusing_ns, end_ns),
    ):
        spans.append(
            Span(
                name=name,
                node=FUSION,
                trace_id=trace,
                span_id=named(name),
                parent_id=root.span_id,
                start_ns=begin_ns,
                end_ns=finish_ns,
            )
        )
    return spans


def is_slow(view: Any, slow_ms: float) -> bool:
    """Whether a view took longer than a limit, missed its deadline, or is not valid."""
    too_late = view.end_to_end_s * 1e3 > slow_ms > 0.0  # NaN: not known
    return bool(too_late or view.deadline_missed or not view.valid)


def in_share(trace: int, share: float) -> bool:
    """Whether a trace is one of a share of all; the same answer for the same trace everywhere."""
    return (trace & _HALF) < share * 2.0**64


def _of_source(status: Any, root: Span, named: Any) -> Iterator[Span]:
    at_ns = _ns(status.stamp)
    stages = [(stage, getattr(status.latency, f"{stage}_s")) for stage in STAGES]
    measured = [(stage, seconds) for stage, seconds in stages if math.isfinite(seconds)]
    frame = Span(
        name=f"{status.source} frame",
        node=f"{status.source}{ENCODER}",
        trace_id=root.trace_id,
        span_id=named(status.source),
        parent_id=root.span_id,
        start_ns=at_ns,
        end_ns=at_ns + sum(_whole_ns(seconds) for _, seconds in measured),
        attributes=_of_status(status, at_ns),
    )
    yield frame
    for stage, seconds in measured:
        yield Span(
            name=stage,
            node=frame.node,
            trace_id=root.trace_id,
            span_id=named(status.source, stage),
            parent_id=frame.span_id,
            start_ns=at_ns,
            end_ns=at_ns + _whole_ns(seconds),
        )
        at_ns += _whole_ns(seconds)


def _of_view(view: Any, stamp_ns: int) -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {
        "stamp_ns": stamp_ns,
        "sequence": int(view.sequence),
        "mode": Mode(view.mode).name,
        "valid": bool(view.valid),
        "deadline_missed": bool(view.deadline_missed),
    }
    found |= {"reason": view.reason} if view.reason else {}
    for status in view.sources:
        if status.state != SourceState.OK or not status.contributed:
            state = SourceState(status.state).name
            said = status.reason or ("did not contribute" if not status.contributed else "")
            found[f"source.{status.source}"] = f"{state}: {said}" if said else state
    for model in view.models:
        found[f"model.{model.role}"] = f"{model.name} {model.version}"
    return found


def _of_status(status: Any, stamp_ns: int) -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {
        "stamp_ns": stamp_ns,
        "source": status.source,
        "state": SourceState(status.state).name,
    }
    if status.warning:
        found["warning"] = status.warning
    if _ns(status.inferred_stamp):
        found["inferred_stamp_ns"] = _ns(status.inferred_stamp)
    return found


def _fault(view: Any) -> str:
    if not view.valid:
        return f"not valid: {view.reason}"
    return "deadline missed" if view.deadline_missed else ""


def _hash(*parts: object) -> int:
    text = "\0".join(map(str, parts)).encode()
    # 0 is no id.
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") or 1


def _ns(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _finite(seconds: float) -> float:
    return seconds if math.isfinite(seconds) else 0.0


def _whole_ns(seconds: float) -> int:
    return round(max(_finite(seconds), 0.0) * 1e9)
