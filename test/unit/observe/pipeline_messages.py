"""Messages of a pipeline, without ROS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from edge_perception.core.types import UNKNOWN, FusionLevel, Mode, SourceState
from edge_perception.releases.past import ViewFacts

STAGES = ("receive_s", "queue_s", "preprocess_s", "inference_s", "postprocess_s")
S = 10**9


def source(name: str = "camera", **changed: Any) -> SimpleNamespace:
    values = {
        "source": name,
        "state": SourceState.OK.value,
        "warning": "",
        "contributed": True,
        "stamp": SimpleNamespace(sec=5, nanosec=0),
        "age_s": 0.04,
        "silence_s": 0.02,
        "rate_hz": 10.0,
        "received": 7,
        "dropped": 1,
        "refused": 2,
        "late": 3,
        "clock_offset_s": UNKNOWN,
        "latency": SimpleNamespace(**dict.fromkeys(STAGES, 0.004)),
    }
    return SimpleNamespace(**{**values, **changed})


def view(sequence: int = 1, **changed: Any) -> SimpleNamespace:
    model = SimpleNamespace(
        role="fusion", name="bev", version="1.0.0", sha256="ab" * 32, feature_space="f1"
    )
    values = {
        "sequence": sequence,
        "mode": Mode.FULL.value,
        "valid": True,
        "confidence": 0.9,
        "safe_stop": False,
        "level": FusionLevel.FEATURE.value,
        "closed_by": 0,
        "sources": [source()],
        "objects": [1, 2],
        "models": [model],
        "wait_s": 0.01,
        "fusion_s": 0.003,
        "end_to_end_s": 0.08,
        "deadline_missed": False,
        "deadline_missed_total": 0,
        "conditions": [
            SimpleNamespace(name="day", confidence=0.9),
            SimpleNamespace(name="fog", confidence=0.0),
        ],
        "speed_advice_mps": UNKNOWN,
    }
    return SimpleNamespace(**{**values, **changed})


def event(name: str, *, sec: int, error: bool = False, reason: str = "") -> SimpleNamespace:
    stamp = SimpleNamespace(sec=sec, nanosec=0)
    return SimpleNamespace(event=name, error=error, stamp=stamp, reason=reason)


def facts(message: Any) -> ViewFacts:
    return ViewFacts(
        end_to_end_ms=message.end_to_end_s * 1e3,
        deadline_missed=message.deadline_missed,
        valid=message.valid,
        error=any(item.state == SourceState.INVALID for item in message.sources),
    )
