"""What may differ from a baseline, and what a result must reach: YAML with a strict schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.documents.yaml_text import parse_yaml
from edge_perception.releases.slo import DEADLINE, END_TO_END, VALID, Slo

SCHEMA = "edge_perception/thresholds/1"
RESULT_SCHEMA = "edge_perception/validation_result/1"


def _share(text: str, default: float) -> Any:
    return parameter(default, text, low=0.0, high=1.0)


def _limit(text: str, unit: str, default: float) -> Any:
    return parameter(default, text, unit=unit, low=0.0, high=1e6)


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """Differences that are none, and how many of the others may be."""

    stamp_ms: float = _limit("acquisition stamps of sources and messages", "ms", 0.01)
    published_ms: float = _limit("time of publication", "ms", 1.0)
    position_m: float = _limit("centre of a matched object", "m", 0.01)
    size_m: float = _limit("length, width or height of it", "m", 0.02)
    yaw_deg: float = _limit("its heading", "°", 1.0)
    velocity_mps: float = _limit("its velocity", "m/s", 0.05)
    score: float = _limit("its score", "", 0.01)
    bearing_deg: float = _limit("where a sound comes from", "°", 1.0)
    match_m: float = _limit("objects farther apart are different ones", "m", 2.0)
    edge_score: float = _limit(
        "an object whose score is so close above the lowest one may come or go", "", 0.01
    )
    messages_share: float = _share("messages added or removed", 0.0)
    states_share: float = _share("messages with another mode, validity or source state", 0.0)
    conditions_share: float = _share("messages with other conditions or speed advice", 0.0)
    frames_share: float = _share(
        "messages in which frames received, dropped, refused or late change", 0.0
    )
    timing_share: float = _share("messages with other stamps or times", 0.0)
    objects_share: float = _share("objects added, removed or different", 0.0)
    events_share: float = _share("sound events added, removed or different", 0.0)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a result must reach by itself; 0 asks for nothing."""

    min_recall: float = _share("correct among labelled cars", 0.0)
    min_precision: float = _share("correct among detected cars", 0.0)
    min_full_share: float = _share("messages in mode FULL", 0.0)
    max_deadline_missed_share: float = _share("messages after their deadline", 1.0)
    min_valid_share: float = _share("messages that are valid", 0.0)
    max_end_to_end_p99_ms: float = _limit("age of the oldest evidence at publication", "ms", 0.0)
    min_throughput_ratio: float = _limit("replay against the bare models", "", 0.0)
    max_peak_mb: float = _limit("memory of a process; 0: any", "MB", 0.0)


OTHER_DEVICE = Tolerances(
    position_m=0.25,
    size_m=0.25,
    yaw_deg=10.0,
    velocity_mps=1.0,
    bearing_deg=10.0,
    score=0.05,
    edge_score=0.05,
    objects_share=0.02,
    conditions_share=0.02,
    events_share=0.05,
)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The whole file."""

    schema: str = parameter(SCHEMA, choices=(SCHEMA,))
    same_device: Tolerances = field(default_factory=Tolerances)
    other_device: Tolerances = OTHER_DEVICE
    limits: Limits = field(default_factory=Limits)
    models_may_change: bool = False
    parameters_may_change: bool = False


def read_thresholds(path: Path | None) -> Thresholds:
    """Read thresholds, or take those an earlier `result.json` supplies.

    An earlier result asks for its own recall, precision, share of FULL messages and share of
    deadlines kept.

    Raises:
        ConfigurationError: the file is missing or breaks the schema.
    """
    if path is None:
        return Thresholds()
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else parse_yaml(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: expected thresholds: {error}") from error
    if isinstance(data, Mapping) and data.get("schema") == RESULT_SCHEMA:
        return _of_result(data, path.name)
    return decode(Thresholds, data or {}, path.name)


def _of_result(result: Mapping[str, Any], where: str) -> Thresholds:
    metrics = result.get("metrics")
    if not isinstance(metrics, Mapping):
        raise ConfigurationError(f"{where}: metrics: expected a mapping, got {metrics!r:.60}")
    asked = {
        "min_recall": metrics.get("recall"),
        "min_precision": metrics.get("precision"),
        "min_full_share": metrics.get("full_share"),
        "max_deadline_missed_share": metrics.get("deadline_missed_share"),
    }
    known = {name: value for name, value in asked.items() if value is not None}
    return replace(Thresholds(), limits=decode(Limits, known, f"{where}: metrics"))


def with_slo(thresholds: Thresholds, slo: Slo) -> Thresholds:
    """Return thresholds whose limits are at least what the operator's objectives ask."""
    limits = thresholds.limits
    for objective in slo.objectives:
        if objective.indicator == DEADLINE:
            missed = max(1.0 - objective.target, 1e-9)  # 0 would ask for nothing
            limits = replace(
                limits, max_deadline_missed_share=min(limits.max_deadline_missed_share, missed)
            )
        elif objective.indicator == VALID:
            limits = replace(limits, min_valid_share=max(limits.min_valid_share, objective.target))
        elif objective.indicator == END_TO_END:
            asked = [limit for limit in (limits.max_end_to_end_p99_ms, objective.at_most) if limit]
            limits = replace(limits, max_end_to_end_p99_ms=min(asked))
    return replace(thresholds, limits=limits)
