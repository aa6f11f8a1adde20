"""From what tuning found to the device plan and its page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import numpy as np

from edge_perception.core.machine import this_machine
from edge_perception.models.device_plan import (
    SCHEMA_VERSION,
    Cheaper,
    DevicePlan,
    Figures,
    SourcePlan,
)
from edge_perception.optimize.configuration import Configuration
from edge_perception.optimize.tune import Tuning

_CHEAPER = 0.9  # of the time: less is not worth a step of load control


def plan_of(found: Tuning, names: Mapping[str, str]) -> DevicePlan:
    """Return the plan.

    Args:
        found: of the tuner.
        names: bundle names as nodes find them, by digest.
    """
    last = found.last
    assert last is not None
    served = {role: way.bundle for role, way in found.default.items()}
    notes = ["joules: this machine does not tell"]
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
                figures=Figures(
                    p50_ms=round(last.role_p50_ms[role], 3),
                    p99_ms=round(last.role_p99_ms[role], 3),
                    memory_mb=round(float(last.told[role]["memory_mb"]), 1),
                ),
                cheaper=_cheaper(found, role, names),
            )
            for role, way in found.chosen.items()
        },
        gain=round(found.gain, 3),
        map_loss=None if found.map_loss is None else round(found.map_loss, 3),
        notes=tuple(notes),
    )


def _cheaper(found: Tuning, role: str, names: Mapping[str, str]) -> tuple[Cheaper, ...]:
    """Return the other bundles that ran faster in the chosen way, the largest first.

    All of them ran alone on one thread, in the same tuning.
    """
    way = found.chosen[role]
    single = {
        tried.configuration.bundle.sha256: tried
        for tried in found.tried
        if tried.role == role
        and tried.alone_ms is not None
        and tried.configuration
        == replace(way, bundle=tried.configuration.bundle, threads=1, batch=1)
    }
    own = single.get(way.bundle.sha256)
    if own is None or own.alone_ms is None:
        return ()
    shares = {digest: (t.alone_ms or 0.0) / own.alone_ms for digest, t in single.items()}
    return tuple(
        Cheaper(
            model=names.get(digest, single[digest].configuration.bundle.manifest.name),
            sha256=digest,
            time=round(share, 3),
            map_loss=single[digest].accuracy_loss,
        )
        for digest, share in sorted(shares.items(), key=lambda item: -item[1])
        if share < _CHEAPER
    )


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
        "out_of_time": found.out_of_time,
        "tried": [
            {
                "role": item.role,
                **_way(item.configuration),
                "alone_ms": item.alone_ms,
                "set_ratio": item.set_ratio,
                "memory_mb": item.memory_mb,
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
    picture = base64.b64encode(_picture(found)).decode("ascii")
    machine = plan.machine
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
<img alt="time alone against what each way costs" src="data:image/png;base64,{picture}">
<h2>Tried</h2>
<table><tr><th>source</th><th>way</th><th>alone, ms</th><th>of a set's time</th><th>memory, MB</th>
<th>mAP lost, points</th><th></th></tr>
{rows}
</table></body></html>
"""


def _picture(found: Tuning) -> bytes:
    """Time alone over memory, the ways of a model in one colour, the chosen ones ringed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), dpi=100)
    try:
        for index, role in enumerate(found.default):
            mine = [t for t in found.tried if t.role == role and t.alone_ms is not None]
            color = f"C{index}"
            x, y = (
                np.array([getattr(t, name) for t in mine], float)
                for name in ("alone_ms", "memory_mb")
            )
            axes.scatter(x, y, c=color, s=30, label=role)
            for at, item in enumerate(mine):
                if item.configuration == found.chosen[role]:
                    axes.scatter(x[at : at + 1], y[at : at + 1], s=160, facecolors="none", ec=color)
        axes.set(xlabel="one inference alone, ms (p50)", ylabel="memory, MB", xscale="log")
        axes.legend(frameon=False, title="ringed: chosen")
        buffer = io.BytesIO()
        figure.tight_layout()
        figure.savefig(buffer, format="png")
    finally:
        pyplot.close(figure)
    return buffer.getvalue()


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
