"""The run as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LINE = "-" * 78
_CUTS_SHOWN = 4


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures of a summary as text, 78 columns wide."""
    parts = [
        _head(summary),
        _sources(summary),
        _latency(summary["latency_ms"]),
        _cuts(summary["cuts"]),
        _objects(summary["correct_objects"]),
        _sounds(summary["sounds_expected"]),
        _memory(summary["resident_mb"]),
    ]
    return f"\n{_LINE}\n".join(["", *filter(None, parts), ""]).strip("\n")


def _head(summary: Mapping[str, Any]) -> str:
    modes = ", ".join(f"{name} {count}" for name, count in summary["modes"].items() if count)
    share = summary["cycles_by_deadline_share"]
    return (
        f"fused messages     {summary['fused_messages']} in {summary['played_s']:.1f} s: {modes}\n"
        f"by their deadline  {share:.1%} ({summary['deadline_missed']} missed)"
    )


def _sources(summary: Mapping[str, Any]) -> str:
    rows = [f"{'source':<10}{'received':>9}{'dropped':>9}{'refused':>9}{'late':>6}   states"]
    for name, source in summary["sources"].items():
        states = ", ".join(f"{state} {count}" for state, count in source["states"].items())
        rows.append(
            f"{name:<10}{source['received']:>9}{source['dropped']:>9}{source['refused']:>9}"
            f"{source['late']:>6}   {states}"
        )
    return "\n".join(rows)


def _latency(latency: Mapping[str, Any]) -> str:
    columns = ("p50", "p95", "p99", "max")
    rows = [f"{'latency, ms':<24}" + "".join(f"{name:>9}" for name in columns)]
    rows.append(_row("stamp to fused message", latency, columns))
    for source, stages in latency["stages"].items():
        for stage, values in stages.items():
            if values:
                rows.append(_row(f"  {source} {stage}", values, columns))
    return "\n".join(rows)


def _row(name: str, values: Mapping[str, float], columns: tuple[str, ...]) -> str:
    cells = "".join(f"{values[c]:>9.1f}" if c in values else f"{'-':>9}" for c in columns)
    return f"{name:<24}{cells}"


def _cuts(cuts: list[Mapping[str, Any]]) -> str:
    """Return two lines a cut; of a long run the first ones and the worst of all."""
    rows = [_cut(cut) for cut in cuts[:_CUTS_SHOWN]]
    if len(cuts) > _CUTS_SHOWN:
        said, full = ([cut[key] for cut in cuts] for key in ("degraded_after_s", "full_after_s"))
        gap_s = max(cut["longest_gap_s"] for cut in cuts)
        rows.append(
            f"worst of {len(cuts)} cuts: longest gap {_ms(gap_s)}, "
            f"said after {_ms(_worst(said))}, FULL {_ms(_worst(full))} after the return"
        )
    return "\n".join(rows)


def _cut(cut: Mapping[str, Any]) -> str:
    modes = ", ".join(f"{name} {count}" for name, count in cut["modes"].items()) or "nothing"
    return (
        f"{cut['source']} pulled from {cut['from_s']:.1f} to {cut['to_s']:.1f} s: "
        f"{cut['messages']} messages, longest gap {_ms(cut['longest_gap_s'])};\n"
        f"  said after {_ms(cut['degraded_after_s'])}: {modes}; "
        f"FULL {_ms(cut['full_after_s'])} after its return"
    )


def _worst(seconds: list[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return max(known) if len(known) == len(seconds) else None


def _ms(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds * 1e3:.0f} ms"


def _objects(correct: Mapping[str, Any]) -> str:
    rows = [
        f"correct cars on {correct['frames']} frames, {correct['labelled']} labelled "
        "(within 2 m, 40 m ahead, in view)"
    ]
    for name in ("fused", "camera", "lidar"):
        precision = correct["precision"][name]
        shown = "-" if precision is None else f"{precision:.2f}"
        parts = ", ".join(
            f"{sequence} {counts[name]} of {counts['labelled']}"
            for sequence, counts in correct["by_sequence"].items()
        )
        rows.append(
            f"  {name:<8}{correct[name]:>5} correct {correct['false'][name]:>4} false"
            f"   precision {shown}   ({parts})"
        )
    return "\n".join(rows)


def _sounds(sounds: list[Mapping[str, Any]]) -> str:
    return "\n".join(
        f"{sound['class_name']:<10} at {sound['expected_s'][0]:.1f} to "
        f"{sound['expected_s'][1]:.1f} s of the clip: heard in {sound['heard_in_window']} of "
        f"{sound['repeats']} repeats, {sound['outside']} times elsewhere"
        for sound in sounds
    )


def _memory(memory: Mapping[str, Any]) -> str:
    names = ", ".join(f"{name} {mb:.0f}" for name, mb in memory["by_process"].items())
    return f"memory (PSS)       {memory['sum']:.0f} MB, peak {memory['peak']:.0f} MB: {names}"
