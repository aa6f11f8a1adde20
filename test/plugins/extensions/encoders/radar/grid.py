"""The grid in front of the vehicle."""

ROWS, COLUMNS = 20, 20
CELL_M = 2.0


def cell_of(x_m, y_m):
    """Return row and column of a place in the base frame, None outside."""
    row, column = int(x_m // CELL_M), int(y_m // CELL_M) + COLUMNS // 2
    return (row, column) if 0 <= row < ROWS and 0 <= column < COLUMNS else None


def center_of(row, column):
    """Return the middle of a cell in the base frame, m."""
    return (row + 0.5) * CELL_M, (column - COLUMNS // 2 + 0.5) * CELL_M
