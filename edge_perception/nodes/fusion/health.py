"""Health of fusion, from its last view."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import replace

from edge_perception.core.health import Health, Level, worst
from edge_perception.core.latency import LatencyWindow
from edge_perception.core.rate import RateMeter, hertz, window_for
from edge_perception.core.types import FusedView, Instant, Mode, SourceState, SourceStatus
from edge_perception.fusion.config import FusionConfig
from edge_perception.fusion.intake import IntakeCounters

_LEVEL_OF = {
    SourceState.OK: Level.OK,
    SourceState.LATE: Level.WARN,
    SourceState.STALE: Level.ERROR,
    SourceState.MISSING: Level.ERROR,
    SourceState.INVALID: Level.ERROR,
}

UNKNOWN_TOLD_S = 5.0  # a feature of a source that is not configured is a warning for so long


class FusionHealth:
    """Collects evidence of fusion and judges it when asked."""

    SILENT_AFTER_PERIODS = 4

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._view: FusedView | None = None
        self._published_ns = 0
        self._rate = RateMeter()
        self._fusion = LatencyWindow()
        self._missed = 0
        self._last_error = ""
        self.feature_level_views = 0

    def on_view(self, view: FusedView, *, missed: int, now: Instant) -> None:
        """Note a published view, and how many were behind their deadline by now."""
        with self._lock:
            self._view, self._published_ns = view, now.steady_ns
            if any(status.contributed for status in view.sources):
                self._last_error = ""  # an empty view says nothing about what was refused
            self._rate.add(now.steady_ns)
            self._fusion.add(view.fusion_s)
            self._missed = missed
            self.feature_level_views += view.level.name == "FEATURE"

    def on_error(self, error: Exception) -> None:
        """Note an exception in the fusion thread."""
        with self._lock:
            self._last_error = f"{type(error).__name__}: {error}"

    def judge(
        self,
        config: FusionConfig,
        heard_ns: Mapping[str, int],
        now: Instant,
        counters: IntakeCounters,
    ) -> Health:
        """Return the health; its evidence is the last view, and of a source its last arrival.

        Args:
            config: of fusion.
            heard_ns: when each source was last heard, steady clock.
            now: the present moment.
            counters: of fusion.
        """
        with self._lock:
            view = self._view
            if view is None:
                return Health(level=Level.WARN, message=self._last_error or "no view yet")
            silence_s = (now.steady_ns - self._published_ns) / 1e9
            # A view follows the last one within the deadline, or with the fastest source's frame.
            fastest_s = 1.0 / max(source.rate_hz for source in config.sources)
            period_s = max(config.cycle.deadline_s, fastest_s)
            self._rate.set_window(window_for(1.0 / period_s))
            findings = [
                Health(level=Level.OK, message=view.mode.name, values=self._values(view, now)),
                *_of_counters(counters, now),
            ]
            limit_s = period_s * self.SILENT_AFTER_PERIODS
            if silence_s > limit_s:
                findings.append(
                    Health(
                        level=Level.ERROR,
                        message=f"no fused view for {silence_s:.2f} s > {limit_s:.2f} s",
                    )
                )
            if self._last_error:
                findings.append(Health(level=Level.ERROR, message=self._last_error))
            findings.extend(_of_view(view))
            own = replace(worst(*findings), evidence_s=silence_s, period_s=period_s)
            parts = _parts(view, config, heard_ns, now)
            # OK speaks for every source: it rests on the stalest of their evidence.
            stalest = max(own, *parts.values(), key=lambda part: part.evidence_s / part.period_s)
            return replace(
                own, parts=parts, evidence_s=stalest.evidence_s, period_s=stalest.period_s
            )

    def _values(self, view: FusedView, now: Instant) -> dict[str, str]:
        fusion_ms = [value * 1e3 for value in self._fusion.percentile(50, 95)]
        values = {
            "mode": view.mode.name,
            "valid": str(view.valid),
            "level": view.level.name,
            "rate_hz": hertz(self._rate.rate_hz(now.steady_ns)),
            "fusion_ms_p50": f"{fusion_ms[0]:.2f}",
            "fusion_ms_p95": f"{fusion_ms[1]:.2f}",
            "deadline_missed": str(self._missed),
            "models": " ".join(f"{model.name}:{model.version}" for model in view.models),
        }
        values["contributing"] = " ".join(s.source for s in view.sources if s.contributed)
        values["confidence"] = f"{view.confidence:.2f}"
        values["safe_stop"] = view.safe_stop_reason or "no"
        values["conditions"] = view.conditions.text
        if view.speed_advice_mps == view.speed_advice_mps:
            values["speed_advice_mps"] = f"{view.speed_advice_mps:.1f}"
        for status in view.sources:
            values[f"{status.source}.state"] = status.state.name
        return values


def _of_counters(counters: IntakeCounters, now: Instant) -> list[Health]:
    """Return what happened to features that no source's status tells of."""
    values = {
        "superseded": " ".join(f"{name}:{count}" for name, count in counters.superseded.items()),
        "unknown_sources": str(counters.unknown),
        "clock_jumps": str(counters.clock_jumps),
    }
    findings = [Health(level=Level.OK, message="", values=values)]
    if counters.unknown and (now.steady_ns - counters.last_unknown_ns) / 1e9 <= UNKNOWN_TOLD_S:
        text = f"features of '{counters.last_unknown}', which is not one of the sources"
        findings.append(Health(level=Level.WARN, message=f"{text} ({counters.unknown} so far)"))
    return findings


def _parts(
    view: FusedView, config: FusionConfig, heard_ns: Mapping[str, int], now: Instant
) -> dict[str, Health]:
    period_s = {source.source: 1.0 / source.rate_hz for source in config.sources}
    return {
        status.source: replace(
            _of_source(status),
            evidence_s=(now.steady_ns - heard_ns.get(status.source, 0)) / 1e9,
            period_s=period_s.get(status.source, math.inf),
        )
        for status in view.sources
    }


def _of_source(status: SourceStatus) -> Health:
    level, message = _LEVEL_OF[status.state], f"{status.state.name}, {status.reason}"
    if status.state is SourceState.OK:
        doubts = "; ".join(filter(None, (_load_of(status), status.warning)))
        level = Level.WARN if doubts else Level.OK
        message = doubts or f"{hertz(status.rate_hz)} Hz, age {status.age_s:.3f} s"
    return Health(
        level=level,
        message=message,
        values={
            "state": status.state.name,
            "age_s": f"{status.age_s:.3f}",
            "silence_s": f"{status.silence_s:.3f}",
            "rate_hz": hertz(status.rate_hz),
            "contributed": str(status.contributed),
            "received": str(status.received),
            "dropped": str(status.dropped),
            "refused": str(status.refused),
            "late": str(status.late),
            "clock_offset_s": f"{status.clock_offset_s:.4f}",
            "skipped": str(status.skipped),
            "given_up": status.given_up or "nothing",
        },
    )


def _load_of(status: SourceStatus) -> str:
    return f"{status.source}: load control: {status.given_up}" if status.given_up else ""


def _of_view(view: FusedView) -> list[Health]:
    findings = [
        Health(
            level=_LEVEL_OF[status.state],
            message=f"{status.source}: {status.state.name}, {status.reason}",
        )
        for status in view.sources
        if status.state is not SourceState.OK
    ]
    findings.extend(
        Health(level=Level.WARN, message=text)
        for status in view.sources
        for text in (_load_of(status), status.warning)
        if text
    )
    if view.safe_stop_reason:
        findings.append(
            Health(level=Level.ERROR, message=f"safe stop asked for: {view.safe_stop_reason}")
        )
    if not view.valid:
        findings.append(Health(level=Level.ERROR, message=f"not valid: {view.reason}"))
    elif view.mode is not Mode.FULL and not findings:
        findings.append(Health(level=Level.WARN, message=f"mode {view.mode.name}: {view.reason}"))
    return findings
