"""Which strides the cells of an output are of, told by their number."""

from __future__ import annotations

from edge_perception.models.adapters._boxes import cells_of
from edge_perception.models.foreign import ForeignModel

_STRIDES = (  # the usual; P6; P2; tiny; P7; P2 to P6
    (8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32), (8, 16, 32, 64, 128),
    (4, 8, 16, 32, 64),
)  # fmt: skip
ANCHORS_A_CELL = 3  # of v5 and v7


def strides_of(foreign: ForeignModel, count: int, anchors: int = 1) -> tuple[int, ...]:
    """Return the strides whose grids have that many cells; none: ()."""
    assert foreign.size is not None
    return next(
        (s for s in _STRIDES if anchors * cells_of(foreign.size, s) == count and count > 0), ()
    )
