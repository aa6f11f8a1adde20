"""From what tuning found to the device plan and its page."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from edge_perception.core.machine import this_machine
from edge_perception.models.device_plan import (
    SCHEMA_VERSION,
    Cheaper,
    DevicePlan,
    Figures,
    SourcePlan,
)
from edge_perception.optimize.configuration import Configuration
from edge_perception.optimize.pareto import default_ms, front, memory_mb, picture
from edge_perception.optimize.tune import MeasuredSet, Tuning


def plan_of(found: Tuning, names: Mapping[str, str]) -> DevicePlan:
    """Return the plan.

    Args:
        found: of the tuner.
        names: bundle names as nodes find them, by digest.
    """
    last = found.last
    assert last is not None
    served = {role: way.bundle for role, way in found.default.items()}
    notes = [f"measured on {found.measured_on}"]
    if found.judged_on:
        notes.append(f"accuracy, where a setting may differ, on {' and on '.join(found.judged_on)}")
    notes += [f"joules: {_energy(found)}", *_cheaper_told(found)]
    if found.out_of_time:
        notes.append("the budget ended before everything was tried")
    return DevicePlan(
        schema_version=SCHEMA_VERSION,
        machine=this_machine(),
        measured=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        sources={
            role: SourcePlan(
                serves=names.get(served[role].sha256, served[role].manifest.name),
                model=names.get(way.bundle.sha256, way.bundle.manifest.name),
                sha256=way.bundle.sha256,
                backend=way.backend,
                provider=way.provider,
                precision=way.precision,
                threads=way.threads,
                batch=way.batch,
                figures=_figures(found, role),
                cheaper=_cheaper(found, role, names),
            )
            for role, way in found.chosen.items()
        },
        gain=round(found.gain, 3),
        map_loss=None if found.map_loss is None else round(found.map_loss, 3),
        notes=tuple(notes),
    )


def _figures(found: Tuning, role: str) -> Figures | None:
    """Return what was measured of a source; None: its memory was not."""
    last, alone = found.last, found.memory(role)
    assert last is not None
    if alone is None or alone.memory_mb is None:
        return None
    joules = last.energy.role_j.get(role)
    return Figures(
        p50_ms=round(last.role_p50_ms[role], 3),
        p99_ms=round(last.role_p99_ms[role], 3),
        memory_mb=round(alone.memory_mb, 1),
        joules=None if joules is None or math.isnan(joules) else float(f"{joules:.3g}"),
        runtime_mb=None if alone.runtime_mb is None else round(alone.runtime_mb, 1),
    )


def _energy(found: Tuning) -> str:
    """Say what was measured of energy, or why nothing was."""
    energy = found.last.energy if found.last is not None else None
    if energy is None or not energy.known:
        return f"not known: {found.energy_why_not}"
    told = (
        f"{energy.set_j:.3g} a set, of the default {energy.base_set_j:.3g}, in turns, of "
        f"{energy.of}, the idle draw of {energy.idle_w:.3g} W in it; of each source alone, "
        "that draw taken off"
    )
    return f"{told}; not in it: {energy.why_not}" if energy.why_not else told


def _cheaper(found: Tuning, role: str, names: Mapping[str, str]) -> tuple[Cheaper, ...]:
    """Return the other models that ran faster in the chosen way, in turns, the largest first."""
    listed = [item for item in found.compared if item.role == role and not item.verdict]
    return tuple(
        Cheaper(
            model=names.get(
                item.configuration.bundle.sha256, item.configuration.bundle.manifest.name
            ),
            sha256=item.configuration.bundle.sha256,
            time=round(item.time, 3),
            map_loss=None if item.accuracy_loss is None else round(item.accuracy_loss, 3),
        )
        for item in sorted(listed, key=lambda item: -item.time)
    )


def _cheaper_told(found: Tuning) -> list[str]:
    """Say by source why nothing is cheaper than the chosen model, where nothing is."""
    told = []
    for role, way in found.chosen.items():
        mine = [item for item in found.compared if item.role == role]
        if any(not item.verdict for item in mine):
            continue
        others = "; ".join(
            f"{item.configuration.bundle.manifest.name} {item.verdict}" for item in mine
        )
        chosen = way.bundle.manifest.name
        told.append(
            f"{role}: nothing measured cheaper than {chosen}: "
            f"{others or 'there is no other model of its feature space'}"
        )
    return told


def as_json(found: Tuning, plan: DevicePlan) -> dict[str, Any]:
    """Return everything that was measured, as plain data."""
    last = found.last
    assert last is not None
    return {
        "machine": {**vars(plan.machine), "accelerators": list(plan.machine.accelerators)},
        "measured": plan.measured,
        "default": {role: _way(way) for role, way in found.default.items()},
        "chosen": {role: _way(way) for role, way in found.chosen.items()},
        "plan_gain": found.gain,
        "set_ratio": {"median": last.ratio, "low": last.ratio_low, "high": last.ratio_high},
        "set_ms": {"p50": last.p50_ms, "p99": last.p99_ms, "default_p50": last.base_p50_ms},
        "role_ms": {
            role: {"p50": last.role_p50_ms[role], "p99": last.role_p99_ms[role]}
            for role in found.chosen
        },
        "map": {
            "default": found.map_default,
            "chosen": found.map_chosen,
            "loss_points": found.map_loss,
        },
        "measured_on": found.measured_on,
        "judged_on": list(found.judged_on),
        "recording_map": {
            "default": found.recording_default,
            "chosen": found.recording_chosen,
        },
        "joules": _joules(found),
        "sets": [_set(found, item) for item in found.sets],
        "cheaper": [
            {
                "role": item.role,
                **_way(item.configuration),
                "time": None if math.isnan(item.time) else item.time,
                "map_loss_points": item.accuracy_loss,
                "verdict": item.verdict or "listed",
            }
            for item in found.compared
        ],
        "cheaper_loss_points": found.cheaper_loss,
        "out_of_time": found.out_of_time,
        "tried": [
            {
                "role": item.role,
                **_way(item.configuration),
                "alone_ms": item.alone_ms,
                "set_ratio": item.set_ratio,
                "memory_mb": item.memory_mb,
                "runtime_mb": item.runtime_mb,
                "map_loss_points": item.accuracy_loss,
                "verdict": item.verdict,
            }
            for item in found.tried
        ],
    }


def page(found: Tuning, plan: DevicePlan) -> str:
    """Return one HTML page: what was tried, what was chosen, and the picture of it."""
    rows = "\n".join(
        f"<tr><td>{_text(item.role)}</td><td>{_text(item.configuration.name)}</td>"
        f"<td>{_number(item.alone_ms)}</td><td>{_number(item.set_ratio)}</td>"
        f"<td>{_number(item.memory_mb)}</td><td>{_number(item.accuracy_loss)}</td>"
        f"<td>{_text(item.verdict)}</td></tr>"
        for item in found.tried
    )
    chosen = "\n".join(
        f"<li><b>{_text(role)}</b>: {_text(way.name)}</li>" for role, way in found.chosen.items()
    )
    loss = "not measured, the outputs are those of the default"
    if found.map_loss is not None:
        loss = f"{found.map_loss:+.2f} points of mAP on the same simulated frames"
    if found.recording_default is not None and found.recording_chosen is not None:
        loss += (
            f", {found.recording_default - found.recording_chosen:+.2f} points on the recordings"
        )
    image = base64.b64encode(picture(found)).decode("ascii")
    machine = plan.machine
    best = front(found.sets)
    sets = "\n".join(_set_row(found, item, item in best) for item in _sorted(found))
    compared = "\n".join(
        f"<li>{_text(item.role)}: {_text(item.configuration.bundle.manifest.name)} "
        f"{_text(item.configuration.bundle.manifest.version)}: "
        + _text(item.verdict or f"takes {item.time:.2f} of the time; listed")
        + ("" if item.accuracy_loss is None else f"; {item.accuracy_loss:+.2f} points of mAP lost")
        + "</li>"
        for item in found.compared
    )
    notes = "\n".join(f"<li>{_text(note)}</li>" for note in plan.notes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Device plan</title>
<style>body{{font:15px sans-serif;margin:2em;max-width:70em}}td,th{{padding:.2em .8em;
text-align:left;border-bottom:1px solid #ddd}}table{{border-collapse:collapse}}</style></head><body>
<h1>Device plan</h1>
<p>{_text(machine.processor)}, {machine.cores} cores,
accelerators: {_text(", ".join(machine.accelerators) or "none")}; {_text(plan.measured)}</p>
<p><b>{found.gain:.2f} times</b> the sets of the default in the same time; accuracy lost:
{loss}.</p>
<ul>{chosen}</ul>
<img alt="time of a set against accuracy lost; models by time and memory" width="100%"
src="data:image/png;base64,{image}">
<ul>{notes}</ul>
<h2>Whole sets</h2>
<table><tr><th>setting</th><th>a set, ms</th><th>of the default's time</th>
<th>mAP lost, points</th><th>models, MB</th><th></th></tr>
{sets}
</table>
<h2>Cheaper than the chosen models</h2>
<p>In the chosen way and in turns with it; in at most 0.9 of its time, and at most
{found.cheaper_loss:g} points of mAP below the default. For load control.</p>
<ul>{compared or "<li>there are no other models of these feature spaces</li>"}</ul>
<h2>Tried</h2>
<p>Alone: the model on its golden inputs, in a process of its own. Memory: what it takes beyond its
runtime with no model in it.</p>
<table><tr><th>source</th><th>way</th><th>alone, ms</th><th>of a set's time</th><th>memory, MB</th>
<th>mAP lost, points</th><th></th></tr>
{rows}
</table></body></html>
"""


def _joules(found: Tuning) -> dict[str, Any]:
    energy = found.last.energy if found.last is not None else None
    if energy is None or not energy.known:
        return {"why_not": found.energy_why_not}
    return {
        "set": energy.set_j,
        "default_set": energy.base_set_j,
        "idle_w": energy.idle_w,
        "of": energy.of,
        "by_source_above_idle": dict(energy.role_j),
        "why_not": energy.why_not,
    }


def _sorted(found: Tuning) -> list[MeasuredSet]:
    return sorted(found.sets, key=lambda item: item.ratio)


def _set(found: Tuning, item: MeasuredSet) -> dict[str, Any]:
    return {
        "setting": {role: _way(way) for role, way in item.setting.items()},
        "ratio": item.ratio,
        "p50_ms": item.ratio * default_ms(found),
        "map_loss_points": item.loss,
        "memory_mb": memory_mb(found, item),
        "on_front": item in front(found.sets),
        "chosen": item.setting == found.chosen,
        "default": item.setting == found.default,
    }


def _set_row(found: Tuning, item: MeasuredSet, is_best: bool) -> str:
    differs = [
        f"{role}: {way.name}" for role, way in item.setting.items() if way != found.default[role]
    ]
    marks = [
        name
        for name, holds in (
            ("chosen", item.setting == found.chosen),
            ("front", is_best),
        )
        if holds
    ]
    return (
        f"<tr><td>{_text('; '.join(differs) or 'default')}</td>"
        f"<td>{_number(item.ratio * default_ms(found))}</td><td>{_number(item.ratio)}</td>"
        f"<td>{_number(item.loss) or 'not measured'}</td>"
        f"<td>{_number(memory_mb(found, item))}</td><td>{', '.join(marks)}</td></tr>"
    )


def _way(way: Configuration) -> dict[str, Any]:
    return {
        "model": way.bundle.manifest.name,
        "version": way.bundle.manifest.version,
        "model_precision": way.bundle.manifest.runtime.precision,
        "backend": way.backend,
        "provider": way.provider,
        "precision": way.precision,
        "threads": way.threads,
        "batch": way.batch,
        "sources": way.sources,
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _text(value: str) -> str:
    return html.escape(value)
