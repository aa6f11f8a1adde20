"""The picture of a tuning: what settings take against what they cost, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_perception.optimize.drawing import png
from edge_perception.optimize.tune import MeasuredSet, Tuning

_LABELLED = 6  # points of the front that get words
_LEAST_POINTS = 0.5  # of mAP, up and down: less than that is chance, and shall look so


def front(sets: Sequence[MeasuredSet]) -> list[MeasuredSet]:
    """Return the settings that no other beats in both time and accuracy, fastest first.

    Those whose accuracy was not measured are not among them.
    """
    best: list[MeasuredSet] = []
    known = [item for item in sets if item.loss is not None and item.loss == item.loss]
    for item in sorted(known, key=lambda item: (item.ratio, item.loss)):
        if not best or (item.loss or 0.0) < (best[-1].loss or 0.0):
            best.append(item)
    return best


def default_ms(found: Tuning) -> float:
    """Return the median time of a set of the default, ms: times of others are ratios to it."""
    assert found.last is not None
    return found.last.base_p50_ms


def memory_mb(found: Tuning, item: MeasuredSet) -> float | None:
    """Return what the models of a setting take together; None: one was not measured."""
    total = 0.0
    for role, way in item.setting.items():
        mine = [t.memory_mb for t in found.tried if t.role == role and t.configuration == way]
        told = next((value for value in mine if value is not None), None)
        if told is None:
            return None
        total += told
    return total


def picture(found: Tuning) -> bytes:
    """Return a PNG: whole sets by time and accuracy lost, and single models by time and memory."""

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _sets(left, found)
        _models(right, found)

    return png(draw, size_in=(13, 5))


def _sets(axes: Any, found: Tuning) -> None:
    base_ms = default_ms(found)
    judged = [item for item in found.sets if item.loss is not None and item.loss == item.loss]
    unknown = [item for item in found.sets if item not in judged]
    best = front(found.sets)
    axes.scatter(
        [item.ratio * base_ms for item in judged], [item.loss for item in judged], c="0.6", s=30,
        label="settings, from the quickest round to the slowest",
    )  # fmt: skip
    for item in judged:  # the quickest and the slowest round
        axes.plot(
            [item.low * base_ms, item.high * base_ms], [item.loss] * 2, c="0.6", lw=1, zorder=1
        )
    axes.plot(
        [item.ratio * base_ms for item in best], [item.loss for item in best], "-o", c="C0", ms=5,
        drawstyle="steps-post", label="front: none is better in both",
    )  # fmt: skip
    for setting, marker, color, name in (
        (found.default, "s", "C7", "default"),
        (found.chosen, "*", "C3", "chosen plan"),
    ):
        at = next((item for item in judged if item.setting == setting), None)
        if at is not None:
            size = 90 if marker == "s" else 220
            axes.scatter(
                [at.ratio * base_ms], [at.loss], marker=marker, c=color, s=size, zorder=3,
                label=name,
            )  # fmt: skip
    low, high = axes.get_ylim()
    low, high = min(low, -_LEAST_POINTS), max(high, _LEAST_POINTS)
    axes.set_ylim(low - 0.12 * (high - low), high + 0.18 * (high - low))
    for item in unknown:
        axes.axvline(item.ratio * base_ms, color="0.85", lw=1, zorder=0)
    if unknown:
        axes.plot([], [], color="0.85", lw=1, label="accuracy not measured")
    marked = [i for i in judged if i.setting in (found.default, found.chosen)]
    marked += [i for i in best[:_LABELLED] if i not in marked]
    for item in marked:
        axes.annotate(
            _label(found, item), (item.ratio * base_ms, item.loss), fontsize=7,
            textcoords="offset points", xytext=(7, 7),
        )  # fmt: skip
    axes.margins(x=0.2)
    axes.set(
        xlabel=f"a set end to end, ms (p50), on {found.measured_on}",
        ylabel="accuracy lost, points of mAP",
        title="whole sets",
    )
    axes.xaxis.label.set_fontsize(8)
    axes.legend(frameon=False, fontsize=8, loc="upper right")


def _label(found: Tuning, item: MeasuredSet) -> str:
    parts = []
    memory = memory_mb(found, item)
    if memory is not None:
        parts.append(f"{memory:.0f} MB")
    energy = found.last.energy if found.last is not None else None
    if energy is not None and energy.known:
        if item.setting == found.chosen:
            parts.append(f"{energy.set_j:.2f} J")
        elif item.setting == found.default:
            parts.append(f"{energy.base_set_j:.2f} J")
    return ", ".join(parts)


def _models(axes: Any, found: Tuning) -> None:
    for index, role in enumerate(found.default):
        mine = [t for t in found.tried if t.role == role and t.alone_ms is not None]
        color = f"C{index}"
        axes.scatter(
            [t.alone_ms for t in mine], [t.memory_mb for t in mine], c=color, s=25, label=role
        )
        ringed = [t for t in mine if t.configuration == found.chosen[role]]
        axes.scatter(
            [t.alone_ms for t in ringed], [t.memory_mb for t in ringed], s=150, facecolors="none",
            ec=color,
        )  # fmt: skip
    axes.set(
        xlabel="one model alone, ms (p50), golden inputs", ylabel="memory of the model, MB",
        xscale="log", title="single models",
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=8, title="ringed: chosen")
