"""Messages of a running system to one plain picture of now."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edge_perception.core.health import Level
from edge_perception.core.types import FusionLevel, Mode, SourceState
from edge_perception.observe.metrics.catalogue import NODE_STALE_S, STAGES, STALE_S

_VIEWS = 100  # that percentiles are of
_MOST = 64  # nodes and sources that are kept
ENCODER, RESOURCES = "_encoder", "resources"


class Gather:
    """Takes messages; `picture` holds what is so now. For one thread."""

    def __init__(self) -> None:
        self._views: deque[tuple[Any, int]] = deque(maxlen=_VIEWS)
        self._stages: dict[str, deque[tuple[float, ...]]] = defaultdict(
            lambda: deque(maxlen=_VIEWS)
        )
        self._stamps: dict[str, tuple[int, int]] = {}  # of the newest feature, by source
        self._said: dict[str, tuple[str, str, Mapping[str, str], int]] = {}  # by node

    def on_view(self, view: Any, steady_ns: int) -> None:
        """Take a message of `perception/fused`."""
        self._views.append((view, steady_ns))
        for status in view.sources[:_MOST]:
            stamp = (status.stamp.sec, status.stamp.nanosec)
            if status.contributed and self._stamps.get(status.source) != stamp:
                self._stamps[status.source] = stamp
                times = tuple(getattr(status.latency, f"{stage}_s") for stage in STAGES)
                self._stages[status.source].append(times)

    def on_status(
        self, node: str, level: int, message: str, values: Mapping[str, str], steady_ns: int
    ) -> None:
        """Take what a node says of itself.

        Raises:
            ValueError: no such level.
        """
        self._said[node] = (Level(level).name, message, values, steady_ns)
        while len(self._said) > _MOST:
            self._said.pop(next(iter(self._said)))

    def picture(self, steady_ns: int) -> dict[str, Any]:
        """Return what is so now, as strict JSON has it: what is not known is null."""
        values = {
            node: values
            for node, (_, _, values, at_ns) in self._said.items()
            if _age_s(at_ns, steady_ns) <= NODE_STALE_S
        }
        encoders = {
            name.removesuffix(ENCODER): said
            for name, said in values.items()
            if name.endswith(ENCODER)
        }
        newest = self._views[-1] if self._views else None
        of_now = newest is not None and _age_s(newest[1], steady_ns) <= STALE_S
        view = newest[0] if newest is not None and of_now else None
        resources = values.get(RESOURCES)

        def told(key: str) -> dict[str, str]:
            return {name: said[key] for name, said in encoders.items() if key in said}

        return _plain(
            {
                "fused": None if view is None else self._fused(view, steady_ns),
                "silence_s": None if newest is None else _age_s(newest[1], steady_ns),
                "sources": [] if view is None else [self._source(s) for s in view.sources],
                "models": [] if view is None else [_model(model) for model in view.models],
                "conditions": {c.name: c.confidence for c in view.conditions} if view else {},
                "drift": told("drift"),
                "load": told("load_step"),
                "nodes": [
                    self._node(name, steady_ns, resources or {}) for name in sorted(self._said)
                ],
                "resources": resources,
            }
        )

    def _fused(self, view: Any, steady_ns: int) -> dict[str, Any]:
        recent_ns = [at_ns for _, at_ns in self._views if _age_s(at_ns, steady_ns) <= STALE_S]
        passed_s = (recent_ns[-1] - recent_ns[0]) / 1e9
        return {
            "mode": Mode(view.mode).name,
            "valid": view.valid,
            "reason": view.reason,
            "confidence": view.confidence,
            "safe_stop": (view.safe_stop_reason or "asked for") if view.safe_stop else "",
            "level": FusionLevel(view.level).name,
            "rate_hz": (len(recent_ns) - 1) / passed_s if passed_s > 0.0 else math.nan,
            "objects": len(view.objects),
            "sound_events": len(view.sound_events),
            "end_to_end_ms": _percentiles(item.end_to_end_s for item, _ in self._views),
            "deadline_missed_total": view.deadline_missed_total,
            "speed_advice_mps": view.speed_advice_mps,
        }

    def _source(self, status: Any) -> dict[str, Any]:
        times = np.array(self._stages[status.source], np.float64).reshape(-1, len(STAGES))
        return {
            "name": status.source,
            "state": SourceState(status.state).name,
            "reason": status.reason or status.warning,
            "contributed": status.contributed,
            "rate_hz": status.rate_hz,
            "age_ms": status.age_s * 1e3,
            "dropped": status.dropped,
            "refused": status.refused,
            "late": status.late,
            "given_up": status.given_up,
            "stages_ms": {
                stage: _percentiles(times[:, column]) for column, stage in enumerate(STAGES)
            },
        }

    def _node(self, name: str, steady_ns: int, resources: Mapping[str, str]) -> dict[str, Any]:
        level, message, _, at_ns = self._said[name]
        age_s = _age_s(at_ns, steady_ns)
        if age_s > NODE_STALE_S:
            level, message = Level.STALE.name, f"silent for {age_s:.0f} s"
        return {
            "name": name,
            "level": level,
            "message": message,
            "cpu_cores": _number(resources.get(f"node_cpu_cores {name}")),
            "pss_mb": _number(resources.get(f"node_pss_bytes {name}"), 1e-6),
        }


def _model(model: Any) -> dict[str, str]:
    return {
        "role": model.role,
        "name": model.name,
        "version": model.version,
        "sha256": model.sha256,
    }


def _age_s(at_ns: int, steady_ns: int) -> float:
    return (steady_ns - at_ns) / 1e9


def _number(text: str | None, factor: float = 1.0) -> float:
    try:
        return float(text) * factor if text is not None else math.nan
    except ValueError:
        return math.nan


def _percentiles(seconds: Iterable[float]) -> dict[str, float]:
    values = np.array(list(seconds), np.float64) * 1e3
    values = values[np.isfinite(values)]
    if not len(values):
        return {"p50": math.nan, "p95": math.nan}
    return {"p50": float(np.percentile(values, 50)), "p95": float(np.percentile(values, 95))}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    return value
