"""The drift of recordings as a page: what each source saw, beside its reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edge_perception.core.picture_style import INK, MUTED
from edge_perception.monitoring.drift.detector import QuantityFigure
from edge_perception.observe.drift.making import Held
from edge_perception.observe.pages import COLORS, svg, table, text, write_page

_NOTE = (
    "Bars are shares of the values by bin: grey the reference, colour the last window of two "
    "minutes. Bins hold about equal shares of the reference, so they are not equally wide. A "
    "quantity that is not judged has too few samples that differ, and says nothing either way."
)


def write_drift_page(path: Path, recordings: Sequence[tuple[str, Sequence[Held]]]) -> None:
    """Write a page.

    Args:
        path: of the page.
        recordings: a title each, and its sources.
    """
    write_page(path, "Drift", [f"<p>{_NOTE}</p>", *_sections(recordings)])


def _sections(recordings: Sequence[tuple[str, Sequence[Held]]]) -> Iterator[str]:
    for title, sources in recordings:
        yield f"<h2>{text(title)}</h2>"
        yield table(
            ("source", "conditions", "drift at the end", "not judged"),
            [
                (
                    held.source,
                    held.said.get("conditions", ""),
                    held.said["drift"],
                    held.said.get("drift_not_judged", ""),
                )
                for held in sources
            ],
        )
        for held in sources:
            yield from (f"<p class=found>{text(line)}</p>" for line in held.findings)
            if held.figures:
                yield f"<h3>{text(held.source)}</h3><div class=grid>"
                yield from (f"<div>{_drawn(figure)}</div>" for figure in held.figures)
                yield "</div>"


def _drawn(quantity: QuantityFigure) -> str:
    figure = Figure(figsize=(4.4, 2.0))
    axes: Any = figure.add_subplot()
    bins = np.arange(len(quantity.before))
    axes.bar(bins, _shares(quantity.before), width=0.9, color="#d5dae1", label="reference")
    color = COLORS[0] if quantity.judged else MUTED
    axes.bar(bins, _shares(quantity.now), width=0.5, color=color, label="now")
    # Four, and never two beside each other: their numbers would overlap.
    step = max(2, -(-len(quantity.edges) // 4))
    shown = np.arange(0, len(quantity.edges), step)
    axes.set_xticks(shown + 0.5, [f"{quantity.edges[at]:.3g}" for at in shown])
    axes.set_title(f"{quantity.name}: {_said(quantity)}", loc="left", color=INK, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return svg(figure)


def _shares(counts: Sequence[int]) -> np.ndarray[Any, Any]:
    array = np.array(counts, float)
    return array / max(array.sum(), 1.0)


def _said(quantity: QuantityFigure) -> str:
    look = quantity.look
    if look is None:
        return "no window yet"
    if not math.isfinite(look.psi):
        return f"not judged, {look.effective:.1f} effective samples"
    judged = "" if quantity.judged else ", not judged yet"
    return f"psi {look.psi:.2f}, ks {look.ks:.2f}, z {look.z:.1f}{judged}"
