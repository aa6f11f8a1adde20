"""A picture of now as lines of text: for any terminal, in 80 columns or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_perception.monitoring.resources.watch import NOT_AVAILABLE
from edge_perception.observe.metrics.catalogue import STAGES

_COLORS = {"green": 32, "yellow": 33, "red": 31, "dim": 2, "bold": 1}
_OF = {
    "OK": "green", "FULL": "green", "DEGRADED": "yellow", "WARN": "yellow", "LATE": "yellow",
    "MINIMAL": "red", "NONE": "red", "ERROR": "red", "STALE": "red", "MISSING": "red",
    "INVALID": "red",
}  # fmt: skip
_MARKS = "rqpi+"  # one a stage, in their order
_FULL_BAR_MS = 100.0


def lines_of(picture: Mapping[str, Any], *, width: int, color: bool) -> list[str]:
    """Return the screen.

    Args:
        picture: of `Gather`.
        width: columns; a longer line is cut.
        color: whether the terminal shows colours.
    """
    paint = _Paint(color)
    parts = [
        _fused(picture, paint),
        _sources(picture["sources"], paint, width),
        _told(picture, paint),
        _resources(picture["resources"], paint),
        _nodes(picture["nodes"], paint),
    ]
    rows = [row for part in parts if part for row in (*part, "")]
    return [_cut(row, width) for row in rows[:-1]]


class _Paint:
    def __init__(self, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, color: str) -> str:
        return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if self._on and color else text

    def state(self, name: str, width: int = 0) -> str:
        return self(f"{name:<{width}}", _OF.get(name, ""))


def _fused(picture: Mapping[str, Any], paint: _Paint) -> list[str]:
    fused = picture["fused"]
    if fused is None:
        silence_s = picture["silence_s"]
        since = "none came yet" if silence_s is None else f"none for {silence_s:.1f} s"
        return [paint(f"no fused view: {since}", "red")]
    times = fused["end_to_end_ms"]
    said = (
        paint("valid", "green") if fused["valid"] else paint(f"NOT VALID {fused['reason']}", "red")
    )
    rows = [
        f"{paint.state(fused['mode'])}  {said}  confidence {_of(fused['confidence'], '.2f')}  "
        f"{_of(fused['rate_hz'], '.1f')} Hz  {fused['objects']} objects of {fused['level']} level",
        f"end to end p50 {_of(times['p50'], '.0f')} ms, p95 {_of(times['p95'], '.0f')} ms, "
        f"{fused['deadline_missed_total']} deadlines missed",
    ]
    if fused["safe_stop"]:
        rows.append(paint(f"SAFE STOP: {fused['safe_stop']}", "red"))
    if fused["speed_advice_mps"] is not None:
        rows.append(paint(f"speed advice: at most {fused['speed_advice_mps']:g} m/s", "yellow"))
    return rows


def _sources(sources: Sequence[Mapping[str, Any]], paint: _Paint, width: int) -> list[str]:
    if not sources:
        return []
    bar = max(10, width - 56)
    legend = ", ".join(f"{m} {stage}" for m, stage in zip(_MARKS, STAGES, strict=True))
    scale = f"p50 by stage, full: {_FULL_BAR_MS:.0f} ms"
    rows = [paint(f"{'source':<14}{'state':<9}{'Hz':>6}{'age ms':>8}{'lost':>7}  {scale}", "dim")]
    for item in sources:
        lost = item["dropped"] + item["refused"] + item["late"]
        rows.append(
            f"{item['name'][:13]:<14}{paint.state(item['state'], 9)}"
            f"{_of(item['rate_hz'], '.1f'):>6}{_of(item['age_ms'], '.0f'):>8}{lost:>7}  "
            f"{_bar(item['stages_ms'], bar)}"
        )
        for text in (item["reason"], item["given_up"]):
            if text:
                rows.append(paint(f"    {text}", "yellow"))
    return [*rows, paint(f"  {legend}", "dim")]


def _bar(stages: Mapping[str, Mapping[str, float | None]], width: int) -> str:
    drawn, total_ms = "", 0.0
    for mark, stage in zip(_MARKS, STAGES, strict=True):
        total_ms += stages[stage]["p50"] or 0.0
        ends = round(total_ms / _FULL_BAR_MS * width)
        drawn += mark * (ends - len(drawn))
    return f"{drawn[:width]}{'>' if len(drawn) > width else ''} {total_ms:.0f}"


def _told(picture: Mapping[str, Any], paint: _Paint) -> list[str]:
    holding = {n: c for n, c in picture["conditions"].items() if c}
    rows = [
        f"conditions  {', '.join(f'{n} {c:.2f}' for n, c in holding.items()) or 'none told'}"
    ] if picture["fused"] else []  # fmt: skip
    rows += [
        f"model       {model['role']}: {model['name']} {model['version']} {model['sha256'][:12]}"
        for model in picture["models"]
    ]
    for name, said in sorted(picture["drift"].items()):
        color = "" if said == "none" else "dim" if said.startswith("not known") else "yellow"
        rows.append(paint(f"drift       {name}: {said}", color))
    for name, said in sorted(picture["load"].items()):
        given_up = not said.startswith("0 ")
        if given_up:
            rows.append(paint(f"load        {name}: step {said}", "yellow"))
    return rows


def _resources(resources: Mapping[str, str] | None, paint: _Paint) -> list[str]:
    if resources is None:
        return [paint("resources   not told: the node `resources` does not run", "dim")]
    numbers = {key: text for key, text in resources.items() if not text.startswith(NOT_AVAILABLE)}
    rows = []
    for key, name, factor, form in (
        ("cpu_share", "processor", 100.0, "{:.0f} % busy"),
        ("memory_available_bytes", "memory", 1e-6, "{:.0f} MB left"),
        ("disk_free_bytes", "disk", 1e-9, "{:.1f} GB left"),
        ("watts_total", "power", 1.0, "{:.1f} W"),
    ):
        if key in numbers:
            rows.append(f"{name} {form.format(float(numbers[key]) * factor)}")
    for kind, form in (
        ("temperature_c ", "{} {:.0f} °C"),
        ("gpu_share ", "{} {:.0%} busy"),
        ("battery_charge_share ", "battery {} {:.0%}"),
        ("joules_per_inference ", "{} {:.2f} J an inference"),
    ):
        found = [
            (key.removeprefix(kind), text) for key, text in numbers.items() if key.startswith(kind)
        ]
        rows += [form.format(name, float(text)) for name, text in found]
    lines = [f"resources   {', '.join(rows) or 'nothing is told'}"]
    throttling = numbers.get("throttling", "none")
    if throttling != "none":
        lines.append(paint(f"throttling  {throttling}", "red"))
    lacks = [f"{key}: {text}" for key, text in resources.items() if key not in numbers]
    return [*lines, *(paint(f"            {text}", "dim") for text in lacks)]


def _nodes(nodes: Sequence[Mapping[str, Any]], paint: _Paint) -> list[str]:
    rows = (
        [paint(f"{'node':<20}{'level':<7}{'cores':>6}{'PSS MB':>8}  says", "dim")] if nodes else []
    )
    return rows + [
        f"{node['name'][:19]:<20}{paint.state(node['level'], 7)}{_of(node['cpu_cores'], '.2f'):>6}"
        f"{_of(node['pss_mb'], '.0f'):>8}  {node['message']}"
        for node in nodes
    ]


def _of(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _cut(row: str, width: int) -> str:
    """Cut a line to the width that is seen; codes of colours take none."""
    seen, at = 0, 0
    while at < len(row):
        if row[at] == "\x1b":
            at = row.index("m", at) + 1
            continue
        if seen == width:
            return row[:at] + ("\x1b[0m" if "\x1b" in row else "")
        seen, at = seen + 1, at + 1
    return row
