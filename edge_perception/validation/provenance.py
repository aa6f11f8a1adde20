"""Whether a run and its baseline are of the same models, parameters, device and bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edge_perception.validation.baseline import Baseline, BaselineHead, device_name, runtime_name
from edge_perception.validation.findings import Finding
from edge_perception.validation.settings import ReplaySettings
from edge_perception.validation.thresholds import Thresholds, Tolerances


def compare_heads(
    parameters: Mapping[str, Any],
    models: Mapping[str, Mapping[str, str]],
    baseline: BaselineHead,
    thresholds: Thresholds,
) -> list[Finding]:
    """Name models and parameters that are not those of the baseline."""
    findings = []
    for name in sorted({*models, *baseline.models}):
        now, then = models.get(name), baseline.models.get(name)
        if now is None or then is None or now["sha256"] != then["sha256"]:
            text = f"{name}: {_model_text(then)} became {_model_text(now)}"
            failed = not thresholds.models_may_change
            findings.append(Finding(kind="model", text=text, failed=failed))
    for name in sorted({*parameters, *baseline.parameters}):
        now, then = parameters.get(name), baseline.parameters.get(name)
        if name not in baseline.parameters:
            # Of newer code: nobody changed it, and what it does shows in the messages.
            text = f"{name}: {now}, which the baseline's code did not have"
            findings.append(Finding(kind="parameter", text=text, failed=False))
        elif not _equal(now, then):
            failed = not thresholds.parameters_may_change
            text = f"{name}: {then} became {now}"
            findings.append(Finding(kind="parameter", text=text, failed=failed))
    return findings


def same_device(base: Baseline, account: Mapping[str, Any]) -> bool:
    """Whether a baseline was made on an equal processor and runtime, of the same bytes."""
    return (
        base.exact
        and base.head.device == device_name()
        and base.head.runtime == runtime_name(account["models"])
    )


def tolerances_for(
    base: Baseline, account: Mapping[str, Any], thresholds: Thresholds
) -> Tolerances:
    """Return the tolerances that hold between this device and the baseline's."""
    same = same_device(base, account)
    return thresholds.same_device if same else thresholds.other_device


def provenance(
    base: Baseline, account: Mapping[str, Any], settings: ReplaySettings
) -> list[Finding]:
    """Note what of a comparison is not like with like."""
    notes = []
    if settings.what_if():
        changed = ", ".join(f"{k} {v}" for k, v in settings.what_if().items())
        notes.append(f"replayed with {changed}")
    if not base.exact:
        notes.append("the recording has the same timing, its bytes differ")
    if not same_device(base, account):
        notes.append(
            f"compared with the tolerances of another device: {base.head.device}, "
            f"{base.head.runtime}"
        )
    return [Finding(kind="note", text=text, failed=False) for text in notes]


def _equal(now: Any, then: Any) -> bool:
    if isinstance(now, (list, tuple)) and isinstance(then, (list, tuple)):
        return len(now) == len(then) and all(map(_equal, now, then))
    if isinstance(now, float) or isinstance(then, float):
        if now is None or then is None or isinstance(now, str) or isinstance(then, str):
            return False
        return math.isclose(now, then, rel_tol=1e-9, abs_tol=1e-9)
    return bool(now == then)


def _model_text(model: Mapping[str, str] | None) -> str:
    return f"{model['name']} {model['version']} ({model['sha256'][:12]})" if model else "none"
