import numpy as np
import pytest

from edge_perception.encoders.lidar.coverage import seen_cells
from edge_perception.encoders.lidar.preprocess import LidarPreprocessing, rasterize, returns_of

CONFIG = LidarPreprocessing()
SHAPE = (1, 24, 96, 64)


def points(x_m: float, y_m: float, count: int) -> np.ndarray:
    around = np.random.default_rng(0).uniform(-0.09, 0.09, (count, 3))
    return (np.array([x_m, y_m, 0.1]) + around).astype(np.float32)


def density(xyz_m: np.ndarray) -> np.ndarray:
    raster = rasterize(xyz_m, None, CONFIG)
    return raster[CONFIG.channels.index("density")]


def test_returns_are_those_of_the_sweep():
    xyz_m = np.concatenate([points(10.1, 0.1, 40), points(10.1, 0.3, 3)])
    assert returns_of(density(xyz_m)).sum() == pytest.approx(43, rel=1e-4)


def test_where_more_was_measured_more_is_known_and_nothing_where_nothing_was():
    seen = seen_cells(returns_of(density(points(10.1, 0.1, 20))), SHAPE)
    assert seen.shape == (1, 1, 96, 64)
    assert seen.min() >= 0.0
    assert seen.max() <= 1.0
    row, column = int((10.1 + 25.6) / 0.8), int((0.1 + 25.6) / 0.8)
    assert seen[0, 0, row, column] > 0.0
    assert seen[0, 0, row + 4, column] == 0.0
    twice = seen_cells(returns_of(density(points(10.1, 0.1, 40))), SHAPE)
    assert twice[0, 0, row, column] == pytest.approx(4 * seen[0, 0, row, column], rel=1e-3)


@pytest.mark.parametrize("shape", [(1, 32), (1, 24, 90, 64), (1, 24, 0, 64), (1, 24, 500, 64)])
def test_a_feature_that_is_no_grid_of_the_raster_has_none(shape):
    assert seen_cells(np.ones((384, 256), np.float32), shape) is None
