"""What one replayed segment tells of itself."""

from __future__ import annotations

import dataclasses
import resource
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edge_perception.core.process_memory import PEAK, memory_bytes
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.reader import Recording
from edge_perception.replay.binding import Binding
from edge_perception.replay.latched import late_transforms
from edge_perception.replay.model_changes import Swap
from edge_perception.replay.stats import ReplayStats
from edge_perception.replay.vehicle import Vehicle
from edge_perception.running.vehicle_plan import VehiclePlan
from edge_perception.validation.accounting import counts_of
from edge_perception.validation.digest import RecordingDigest, as_hex

_BEGIN_NS = 5_000_000_000  # shorter than a segment


def account_of(
    stats: ReplayStats,
    plan: VehiclePlan,
    vehicle: Vehicle,
    swaps: list[Swap],
    bag: Recording,
    binding: Binding,
    digest: RecordingDigest,
    decoder: MessageDecoder,
) -> dict[str, Any]:
    """Return what a replayed segment tells, as plain data."""
    models = {name: _model(loaded) for name, loaded in sorted(vehicle.loaded.items())}
    for swap in swaps:
        for name, loaded in sorted(swap.vehicle.loaded.items()):
            if loaded.bundle.sha256 != vehicle.loaded[name].bundle.sha256:
                models[f"{name} from {swap.name}"] = _model(loaded)
    return {
        "parameters": parameters_of(plan),
        "models": models,
        "notes": [
            *bag.notes,
            *decoder.notes,
            *binding.notes,
            *late_transforms(bag, binding),
            *_remarks(stats, bag),
        ],
        "digest": {
            "content": as_hex(digest.content),
            "timing": as_hex(digest.timing),
            "messages": digest.counts.total(),
        },
        "counts": counts_of(bag, binding, digest, stats),
        "tallies": {
            "faults": dict(+stats.faults),
            "repeated": dict(stats.repeated),
            "errors": dict(stats.errors),
            "first_error": dict(stats.first_error),
        },
        "start_ns": bag.start_ns,
        "end_ns": bag.end_ns,
        "wall_s": stats.wall_s,
        "bare_s": stats.bare_s,
        "work_s": stats.work_s,
        "messages": stats.messages,
        "dropped": stats.dropped,
        "stages": stages_of(stats),
        "peak_mb": peak_mb(),
    }


def _model(loaded: Any) -> dict[str, str]:
    manifest = loaded.bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "sha256": loaded.bundle.sha256,
        "runtime": f"{loaded.info.runtime} {loaded.info.runtime_version}",
        "provider": loaded.info.provider,
    }


def parameters_of(plan: VehiclePlan) -> dict[str, Any]:
    """Return all parameters that were used, flat, by node."""
    flat: dict[str, Any] = {}
    for source in plan.sources:
        node = f"{source.name}_encoder"
        for name, value in dataclasses.asdict(source.options).items():
            if name not in ("source", "cores"):  # neither changes a result
                flat[f"{node}.{name}"] = list(value) if isinstance(value, tuple) else value
        for name in ("model", "backend", "provider"):
            flat[f"{node}.{name}"] = getattr(source.model, name)
        if source.content is not None:
            limits = dataclasses.asdict(source.content)
            flat |= {f"{node}.content.{name}": value for name, value in limits.items()}
    flat["fusion.model"] = plan.fusion_model.model
    for config in (plan.fusion.cycle, plan.fusion.decision):
        prefix = "decision." if config is plan.fusion.decision else ""
        flat |= {f"fusion.{prefix}{k}": v for k, v in dataclasses.asdict(config).items()}
    for item in plan.fusion.sources:
        flat |= {f"fusion.{item.source}.{k}": v for k, v in dataclasses.asdict(item).items()}
    return flat


def stages_of(stats: ReplayStats) -> dict[str, list[list[float]]]:
    """Return the measured times, s: preprocess, inference, postprocess by source; fusion."""
    stages = {
        name: [[x.preprocess_s, x.inference_s, x.postprocess_s] for x in items[:1024]]
        for name, items in stats.measured.items()
    }
    stages["fusion"] = [[0.0, seconds, 0.0] for seconds in stats.fusion_measured_s[:1024]]
    return stages


def _remarks(stats: ReplayStats, bag: Recording) -> list[str]:
    remarks = [*stats.clock_jumps, *stats.notes]
    if not stats.clock_jumps:
        spans = sorted(stats.spans.items())
        remarks += [f"{topic}: {span.fault}" for topic, span in spans if span.fault]
        begins_ns = min((span.arrivals_ns[0] for _, span in spans), default=0)
        if begins_ns - bag.start_ns < _BEGIN_NS:  # said of one segment, and not of each
            remarks += filter(None, [stats.other_time()])
    return remarks


def counted_remarks(accounts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what was counted over all segments, once.

    Args:
        accounts: of the segments, in their order.
    """
    tallies = [account["tallies"] for account in accounts]
    total: dict[str, Counter[str]] = {
        name: sum((Counter(tally[name]) for tally in tallies), Counter())
        for name in ("faults", "repeated", "errors")
    }
    remarks = [f"{what} in {n} messages" for what, n in sorted(total["faults"].items())]
    remarks += [
        f"{topic}: {n} messages are the one before byte for byte: taken once"
        for topic, n in sorted(total["repeated"].items())
    ]
    for where, n in sorted(total["errors"].items()):
        first = next(t["first_error"][where] for t in tallies if where in t["first_error"])
        remarks.append(f"{where}: {n} messages cannot be used, the first: {first}")
    return remarks


def peak_mb() -> float:
    """Return the highest resident size of this process so far, 10^6 bytes."""
    try:  # getrusage() counts what the process was before it became this program
        return round(memory_bytes(PEAK) * 1e-6, 1)
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak * (1e-6 if sys.platform == "darwin" else 1024e-6), 1)
