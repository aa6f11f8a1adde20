"""Health of one encoder, from evidence younger than its limits."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edge_perception.core.health import NOT_AS_ASKED, Health, Level, worst
from edge_perception.core.latency import LatencyWindow
from edge_perception.core.parameter import parameter
from edge_perception.core.rate import RateMeter, hertz, window_for
from edge_perception.core.types import Feature, Instant
from edge_perception.encoders.arrivals import Arrivals, ArrivalWindow
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.models.sessions import sharing_told

SILENT = "no message on"  # begins what is said of an input; the doctor knows it by that
BURSTS = "in bursts"  # how messages come that were held up on their way
# Of the last messages so many came right behind one another: bursts of three and more.
_BURST_SHARE, _CLOSE_PERIODS, _MEMORY = 0.6, 0.25, 0.95
MIN_SAMPLES = 20  # a percentile of fewer says nothing


@dataclass(frozen=True, kw_only=True)
class HealthLimits:
    """What an encoder is measured against."""

    rate_hz: float = parameter(
        10.0, "expected rate of features", unit="Hz", low=0.01, high=1000.0, dynamic=True
    )
    budget_ms: float = parameter(
        50.0,
        "preprocessing, inference and postprocessing of one frame, 95th percentile",
        unit="ms",
        low=0.1,
        high=60000.0,
        dynamic=True,
    )
    budget_error_s: float = parameter(
        10.0,
        "above the budget for this long is an error",
        unit="s",
        low=0.1,
        high=3600.0,
        dynamic=True,
    )
    late_periods: float = parameter(
        2.2,
        "periods without a usable frame until the source is not OK any more",
        unit="periods",
        low=1.0,
        high=1000.0,
        dynamic=True,
    )
    silence_periods: float = parameter(
        5.0,
        "periods without a message until the input counts as silent",
        unit="periods",
        low=1.0,
        high=1000.0,
        dynamic=True,
    )

    @property
    def silence_s(self) -> float:
        """Without a message for so long the input is silent, s."""
        return self.silence_periods / self.rate_hz


class EncoderHealth:
    """Collects evidence of one encoder and judges it when asked."""

    def __init__(self, *, started: Instant) -> None:
        self._lock = threading.Lock()
        self._started = started
        self._messages = RateMeter()
        self._features = RateMeter()
        self._total = LatencyWindow()
        self._inference = LatencyWindow()
        self._arrivals = ArrivalWindow()
        self._last_message_ns = 0
        self._close_share = 0.0  # of the last messages, those that came right behind another
        self._last_feature: Feature | None = None
        self._last_error = ""
        self._last_valid_ns = 0
        self._over_budget_since_ns: int | None = None

    def on_message(self, now: Instant) -> None:
        """Note that a message arrived."""
        with self._lock:
            self._messages.add(now.steady_ns)
            gap_s = (now.steady_ns - self._last_message_ns) / 1e9
            close = gap_s * self._messages.rate_hz(now.steady_ns) < _CLOSE_PERIODS
            self._close_share += (1.0 - _MEMORY) * (close - self._close_share)
            self._last_message_ns = now.steady_ns

    def on_feature(self, feature: Feature, now: Instant) -> None:
        """Note what a frame became."""
        latency = feature.latency
        with self._lock:
            self._last_feature = feature
            self._last_error = ""
            if feature.valid:
                self._last_valid_ns = now.steady_ns
                self._features.add(now.steady_ns)
                self._inference.add(latency.inference_s)
                self._total.add(latency.preprocess_s + latency.inference_s + latency.postprocess_s)

    def on_error(self, error: BaseException) -> None:
        """Note an exception that no frame should have caused."""
        with self._lock:
            self._last_error = f"{type(error).__name__}: {error}"

    def judge(
        self,
        *,
        pipeline: EncoderPipeline,
        limits: HealthLimits,
        topics: str,
        now: Instant,
        arrivals: Mapping[str, Arrivals] | None = None,
    ) -> Health:
        """Return the health; its evidence is the last valid feature.

        Args:
            pipeline: of the encoder.
            limits: what it is measured against.
            topics: names of its inputs, for people.
            now: the present moment.
            arrivals: what came and what got lost, by topic.
        """
        arrivals = arrivals or {}
        with self._lock:
            for meter in (self._messages, self._features):
                meter.set_window(window_for(limits.rate_hz))
            values = self._values(pipeline, now)
            for topic, counts in arrivals.items():
                values[f"received {topic}"] = str(counts.received)
                values[f"lost {topic}"] = str(counts.lost)
            lost = self._arrivals.step(arrivals, now.steady_ns)
            health = worst(
                Health(level=Level.OK, message=f"{values['rate_hz']} Hz", values=values),
                *self._findings(pipeline, limits, topics, now),
                *(Health(level=Level.WARN, message=text) for text in lost.values()),
            )
            return replace(
                health,
                evidence_s=(now.steady_ns - self._last_valid_ns) / 1e9,
                period_s=1.0 / limits.rate_hz,
            )

    def _findings(
        self, pipeline: EncoderPipeline, limits: HealthLimits, topics: str, now: Instant
    ) -> list[Health]:
        findings = []
        since_ns = self._last_message_ns or self._started.steady_ns
        silence_s = (now.steady_ns - since_ns) / 1e9
        if silence_s > limits.silence_s:
            findings.append(
                Health(
                    level=Level.ERROR,
                    message=f"{SILENT} {topics} for {silence_s:.1f} s > {limits.silence_s:.1f} s"
                    f"{self._bursts(now)}",
                )
            )
        late_limit_s = limits.late_periods / limits.rate_hz
        late_s = (now.steady_ns - self._last_valid_ns) / 1e9
        feature = self._last_feature
        if self._last_valid_ns and not findings and late_s > late_limit_s:
            findings.append(
                Health(
                    level=Level.WARN,
                    message=f"no usable frame for {late_s:.2f} s > {late_limit_s:.2f} s"
                    f"{self._bursts(now)}",
                )
            )
        if feature is not None and feature.warning:
            findings.append(Health(level=Level.WARN, message=feature.warning))
        if feature is None and not findings:
            findings.append(Health(level=Level.WARN, message="waiting for the first frame"))
        if feature is not None and not feature.valid:
            level = Level.WARN if feature.passing else Level.ERROR
            findings.append(Health(level=level, message=f"refused: {feature.invalid_reason}"))
        if self._last_error:
            findings.append(Health(level=Level.ERROR, message=self._last_error))
        findings.extend(self._over_budget(limits, now))
        findings.extend(
            Health(level=Level.WARN, message=text) for text in pipeline.watch.findings()
        )
        findings.extend(Health(level=Level.WARN, message=note) for note in pipeline.model.notes)
        return findings

    def _bursts(self, now: Instant) -> str:
        if self._close_share < _BURST_SHARE:
            return ""
        rate_hz = self._messages.rate_hz(now.steady_ns)
        if not rate_hz:
            return ""  # it ended
        return f": messages come {BURSTS}, {hertz(rate_hz)} a second, of which the newest count"

    def _over_budget(self, limits: HealthLimits, now: Instant) -> list[Health]:
        """A warning at first, an error once it persists."""
        p95_ms = self._total.percentile(95)[0] * 1e3
        if len(self._total) < MIN_SAMPLES or not p95_ms > limits.budget_ms:
            self._over_budget_since_ns = None
            return []
        if self._over_budget_since_ns is None:
            self._over_budget_since_ns = now.steady_ns
        held_s = (now.steady_ns - self._over_budget_since_ns) / 1e9
        level = Level.ERROR if held_s >= limits.budget_error_s else Level.WARN
        text = f"processing {p95_ms:.1f} ms > budget {limits.budget_ms:.1f} ms (p95)"
        return [Health(level=level, message=f"{text} for {held_s:.0f} s")]

    def _values(self, pipeline: EncoderPipeline, now: Instant) -> dict[str, str]:
        feature = self._last_feature
        loaded = pipeline.model.loaded
        manifest, info = loaded.bundle.manifest, loaded.backend.describe()
        model = pipeline.model
        notes, on_device = model.notes, model.device is not None and not model.device.note
        inference = self._inference.percentile(50, 95)
        total = self._total.percentile(50, 95)
        age_s = (now.node_ns - feature.stamp_ns) / 1e9 if feature else float("nan")
        return {
            "source": pipeline.source,
            "rate_hz": hertz(self._features.rate_hz(now.steady_ns)),
            "input_rate_hz": hertz(self._messages.rate_hz(now.steady_ns)),
            **({"arrival": BURSTS} if self._close_share >= _BURST_SHARE else {}),
            "age_s": f"{age_s:.3f}",
            "dropped": str(pipeline.dropped()),
            "refused": str(pipeline.refused),
            "inference_ms_p50": f"{inference[0] * 1e3:.2f}",
            "inference_ms_p95": f"{inference[1] * 1e3:.2f}",
            "processing_ms_p50": f"{total[0] * 1e3:.2f}",
            "processing_ms_p95": f"{total[1] * 1e3:.2f}",
            "content_check_ms_p95": f"{pipeline.frames.content_s.percentile(95)[0] * 1e3:.2f}",
            "watch_ms_p95": f"{pipeline.watch_s.percentile(95)[0] * 1e3:.2f}",
            "model": manifest.name,
            "model_version": manifest.version,
            "model_sha256": loaded.bundle.sha256,
            "runtime": f"{info.runtime} {info.runtime_version}",
            "provider": info.where,
            "precision": info.precision or "as in the graph",
            "preprocess": "gpu" if on_device else "cpu",
            **({NOT_AS_ASKED: "; ".join(notes)} if notes else {}),
            **sharing_told(loaded.backend),
            **pipeline.describe(),
        }
