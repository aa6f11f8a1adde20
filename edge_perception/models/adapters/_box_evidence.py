"""What a run on noise tells of the boxes of a grid: their form and their unit.

Two exporters write the same shape with centres and sizes in one and corners in the other. But a box
lies about its cell, whatever the picture is: from cell to cell to the right both x of its corners
grow, and of centre and size only the first does. How fast they grow tells the unit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_perception.models.adapters._boxes import grid_cells
from edge_perception.models.foreign import ForeignModel

_GROWS, _STAYS = 0.8, 0.5  # correlation of a column of the boxes with the place of their cells
_USUAL = ("cxcywh", "px", "decoded in the graph")
_FEWEST = 16  # cells
_SLACK = 0.05  # of scores that were quantised
_FEW = 0.1  # of a side of the input: middles of boxes reach from one side to the other


def form_and_unit(
    foreign: ForeignModel, boxes: NDArray | None, strides: tuple[int, ...], anchors: int = 1
) -> tuple[str, str, str]:
    """Return the form and the unit of boxes, and why: the usual ones where noise does not tell.

    Args:
        foreign: the file.
        boxes: (N, 4), of a run on noise, in the order of the cells; None: there was none.
        strides: of the grids; only that of the finest is looked at.
        anchors: boxes a cell, one after the other in each grid.
    """
    assert foreign.size is not None
    cells, _ = grid_cells(foreign.size, strides[:1])
    middles = np.tile((cells + 0.5) * strides[0], (anchors, 1))
    if boxes is None or len(middles) < _FEWEST or len(boxes) < len(middles):
        return _USUAL
    own = boxes[: len(middles)].astype(np.float64)
    if not np.isfinite(own).all():
        return _USUAL
    first = [_correlation(own[:, axis], middles[:, axis]) for axis in (0, 1)]
    second = [_correlation(own[:, axis + 2], middles[:, axis]) for axis in (0, 1)]
    if min(first) < _GROWS:
        return _USUAL
    slopes = [
        np.polyfit(middles[:, axis], own[:, axis], 1)[0] * foreign.size[axis] for axis in (0, 1)
    ]
    unit = "share" if max(slopes) < _FEWEST else "px"  # 1 of a share, the side of the input of px
    if min(second) > _GROWS:
        return "xyxy", unit, "on noise both corners of a box go with its cell"
    if max(second) < _STAYS:
        return "cxcywh", unit, "on noise the middle of a box goes with its cell, its size does not"
    return _USUAL


def are_offsets(foreign: ForeignModel, boxes: NDArray | None, strides: tuple[int, ...]) -> bool:
    """Whether a run on noise shows that boxes are not decoded: their middles are offsets in cells.

    Args:
        foreign: the file.
        boxes: (N, 4), as for `form_and_unit`.
        strides: of the grids.
    """
    assert foreign.size is not None
    cells, _ = grid_cells(foreign.size, strides[:1])
    if boxes is None or len(cells) < _FEWEST or len(boxes) < len(cells):
        return False
    own = boxes[: len(cells), :2].astype(np.float64)
    usual = np.percentile(own, [10, 90], axis=0)  # a few cells may stand out, the rest be alike
    if not np.isfinite(own).all() or not np.ptp(usual, axis=0).all():
        return False
    follows = max(_correlation(own[:, axis], cells[:, axis]) for axis in (0, 1))
    spread = np.percentile(np.abs(own), 95, axis=0) / np.asarray(foreign.size)
    return follows < _STAYS and bool(spread.max() < _FEW)


def follow_cells(foreign: ForeignModel, boxes: NDArray, stride: int) -> bool:
    """Whether a run on noise shows that boxes are decoded: they go with their cells.

    Args:
        foreign: the file.
        boxes: (N, 2) or (N, 4) of all cells of one stride, x and y first.
        stride: of the grid, px.
    """
    assert foreign.size is not None
    cells, _ = grid_cells(foreign.size, (stride,))
    if len(cells) != len(boxes) or len(cells) < _FEWEST or not np.isfinite(boxes).all():
        return False
    own = boxes.astype(np.float64)
    return min(_correlation(own[:, axis], cells[:, axis]) for axis in (0, 1)) >= _GROWS


def are_scores(values: NDArray | None) -> bool:
    """Whether nothing of a run on noise shows that numbers are no scores, but what makes them.

    Args:
        values: scores of cells; None: there was no run.
    """
    if values is None or not values.size:
        return True
    return bool(values.min() >= -_SLACK and values.max() <= 1.0 + _SLACK)


def _correlation(values: NDArray[np.float64], places: NDArray[np.float64]) -> float:
    """Return the correlation; 0 where one of them is the same everywhere."""
    if np.ptp(values) == 0.0 or np.ptp(places) == 0.0:
        return 0.0
    return float(np.corrcoef(values, places)[0, 1])
