"""What happened when: sources, mode, sounds and latency over the run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from edge_perception.core.picture_style import (
    CUT,
    DPI,
    GRID,
    INK,
    LATENCY,
    MODE,
    MUTED,
    OTHER_SOUND,
    SOUND,
    STATE,
    WIDTH_PX,
    spoken,
)
from edge_perception.core.types import Mode, PublishedView, SourceState
from edge_perception.demo.cuts import CutReport
from edge_perception.demo.summary import source_names

_HOLD_S = 0.35  # a message stands for what is true until the next, at most this long
_LANE = 0.72  # height of a lane
_WORD_S = 0.01  # width of a letter as a share of the run


def timeline_picture(
    path: Path,
    *,
    entries: Sequence[PublishedView],
    cuts: Sequence[CutReport],
    start_ns: int,
    title: str,
) -> None:
    """Write the picture.

    Args:
        path: PNG to write.
        entries: fused messages, by arrival.
        cuts: the pulled sensors.
        start_ns: time zero, node clock.
        title: one line that says what is shown.
    """
    names = source_names(entries)
    figure, (lanes, curve) = pyplot.subplots(
        2, 1, sharex=True, figsize=(WIDTH_PX / DPI, 9.2), dpi=DPI, height_ratios=(1.25, 1)
    )
    try:
        _draw_lanes(lanes, entries, names, start_ns)
        _draw_latency(curve, entries, start_ns)
        for axes in (lanes, curve):
            for cut in cuts:
                axes.axvspan(cut.from_s, cut.to_s, color=CUT, alpha=0.09, lw=0, zorder=0)
                for edge_s in (cut.from_s, cut.to_s):
                    axes.axvline(edge_s, color=CUT, lw=1.2, ls=(0, (4, 3)), zorder=5)
        for cut in cuts:
            lanes.text(
                (cut.from_s + cut.to_s) / 2, 0.62, f"{cut.source} pulled", color=CUT, fontsize=13,
                weight="bold", ha="center", va="bottom",
            )  # fmt: skip
        figure.suptitle(title, x=0.02, y=0.975, ha="left", fontsize=17, color=INK, weight="bold")
        figure.subplots_adjust(left=0.095, right=0.985, top=0.90, bottom=0.135, hspace=0.08)
        _legends(figure, entries)
        figure.savefig(path)
    finally:
        pyplot.close(figure)


def _times(entries: Sequence[PublishedView], start_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return start and length of what each message stands for, s."""
    at = np.array([(entry.at_ns - start_ns) * 1e-9 for entry in entries])
    length = np.diff(at, append=at[-1:] + 0.1)
    return at, np.minimum(length, _HOLD_S)


def _draw_lanes(
    axes: Axes, entries: Sequence[PublishedView], names: list[str], start_ns: int
) -> None:
    at, length = _times(entries, start_ns)
    spans = list(zip(at, length, strict=True))
    rows = ["fused mode", *names, "heard"]
    modes = [MODE[entry.view.mode] for entry in entries]
    axes.broken_barh(spans, (-_LANE / 2, _LANE), facecolors=modes, lw=0)
    for mode, from_s, to_s in _runs([entry.view.mode for entry in entries], at, length):
        if to_s - from_s > _WORD_S * len(mode.name) * float(at[-1]):
            axes.text((from_s + to_s) / 2, 0, mode.name, ha="center", va="center", fontsize=12,
                      color="white" if mode == Mode.FULL else INK, weight="bold")  # fmt: skip
    for row, name in enumerate(names, start=1):
        statuses = [entry.view.source(name) for entry in entries]
        colors = [STATE[s.state] if s is not None else MUTED for s in statuses]
        axes.broken_barh(spans, (-row - _LANE / 2, _LANE), facecolors=colors, lw=0)
    _draw_sounds(axes, entries, start_ns, -len(names) - 1)
    axes.set_yticks([-row for row in range(len(rows))], [spoken(row) for row in rows], fontsize=13)
    axes.set_ylim(-len(rows) + 0.4, 1.05)
    axes.tick_params(length=0, colors=INK)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)


def _runs(
    modes: list[Mode], at: np.ndarray, length: np.ndarray
) -> Iterator[tuple[Mode, float, float]]:
    """Yield each mode with the time it lasted."""
    for mode, group in itertools.groupby(range(len(modes)), key=lambda index: modes[index]):
        indices = list(group)
        yield mode, float(at[indices[0]]), float(at[indices[-1]] + length[indices[-1]])


def _draw_sounds(axes: Axes, entries: Sequence[PublishedView], start_ns: int, row: int) -> None:
    events = {
        (event.class_name, event.window_start_ns): event
        for entry in entries
        for event in entry.view.sound_events
    }
    classes = sorted({name for name, _ in events})
    height = _LANE / max(1, len(classes))
    for (name, window_start_ns), event in events.items():
        start_s = (window_start_ns - start_ns) * 1e-9
        length_s = (event.window_end_ns - window_start_ns) * 1e-9
        low = row + _LANE / 2 - (classes.index(name) + 1) * height
        axes.broken_barh(
            [(start_s, length_s)], (low, height), facecolors=SOUND.get(name, OTHER_SOUND), lw=0
        )


def _draw_latency(axes: Axes, entries: Sequence[PublishedView], start_ns: int) -> None:
    at, _ = _times(entries, start_ns)
    latency_ms = np.array([entry.end_to_end_s for entry in entries]) * 1e3
    axes.plot(at, latency_ms, color=LATENCY, lw=1.0, alpha=0.5)
    axes.scatter(at, latency_ms, s=12, color=LATENCY, zorder=3)
    missed = np.array([entry.deadline_missed for entry in entries])
    if missed.any():
        axes.scatter(at[missed], latency_ms[missed], s=60, facecolors="none", edgecolors=CUT, lw=2,
                     zorder=4, label="deadline missed")  # fmt: skip
        axes.legend(loc="upper right", fontsize=12, frameon=False)
    axes.set_ylabel("oldest stamp to fused\nmessage, ms", fontsize=13, color=INK)
    axes.set_xlabel("s since playing started", fontsize=13, color=INK)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, float(at[-1]) + 0.1)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=12, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legends(figure: Figure, entries: Sequence[PublishedView]) -> None:
    states = {status.state for entry in entries for status in entry.view.sources}
    modes = {entry.view.mode for entry in entries}
    sounds = sorted({event.class_name for entry in entries for event in entry.view.sound_events})
    groups = (
        ("source", [Patch(color=STATE[s], label=s.name) for s in SourceState if s in states]),
        ("mode", [Patch(color=MODE[m], label=m.name) for m in reversed(Mode) if m in modes]),
        ("heard", [Patch(color=SOUND.get(n, OTHER_SOUND), label=spoken(n)) for n in sounds]),
    )
    x = 0.09
    for title, handles in groups:
        if not handles:
            continue
        legend = figure.legend(
            handles=handles, title=title, loc="lower left", bbox_to_anchor=(x, 0.0), fontsize=12,
            ncol=len(handles), frameon=False, title_fontsize=12, alignment="left",
        )  # fmt: skip
        legend.get_title().set_color(MUTED)
        x += 0.06 + 0.075 * len(handles)
