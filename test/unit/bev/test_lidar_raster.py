import numpy as np
import pytest

from edge_perception.encoders.lidar.preprocess import (
    MAX_OBSTACLE_POINTS,
    LidarPreprocessing,
    bin_points,
    obstacle_points,
    rasterize,
)

CONFIG = LidarPreprocessing()


def road(slope: float = 0.0, height_m: float = 0.0) -> np.ndarray:
    """A road surface with a return every 0.4 m."""
    x, y = np.meshgrid(np.arange(-25, 51, 0.4), np.arange(-25, 25, 0.4), indexing="ij")
    return np.stack([x, y, slope * x + height_m], axis=-1).reshape(-1, 3).astype(np.float32)


def block(x: float, y: float, base_m: float = 0.0, top_m: float = 1.5) -> np.ndarray:
    """Returns on an object of 4 m by 2 m."""
    rng = np.random.default_rng(0)
    inside = rng.random((2000, 3)) * (4.0, 2.0, top_m) + (-2.0, -1.0, base_m)
    return (inside + np.array([x, y, 0.0])).astype(np.float32)


def cell_of(x: float, y: float) -> tuple[int, int]:
    return (
        int((x - CONFIG.x_range_m[0]) / CONFIG.cell_m),
        int((y - CONFIG.y_range_m[0]) / CONFIG.cell_m),
    )


def channel(raster: np.ndarray, name: str) -> np.ndarray:
    return raster[CONFIG.channels.index(name)]


def test_single_return_lands_in_its_cell_and_slice():
    points = np.concatenate([road(), [[10.1, -3.3, 1.2]]]).astype(np.float32)
    raster = rasterize(points, None, CONFIG)
    row, column = cell_of(10.1, -3.3)
    assert channel(raster, "occupied_1_1.4")[row, column] == 1.0
    assert raster[: len(CONFIG.height_edges_m) - 1].sum() == 1.0
    assert channel(raster, "max_height")[row, column] == pytest.approx(1.2 / 3.6, abs=1e-4)
    assert channel(raster, "min_height")[row, column] == pytest.approx(1.2 / 3.6, abs=1e-4)


def test_heights_and_intensity_match_a_plain_loop():
    rng = np.random.default_rng(3)
    points = np.concatenate([road(), block(12, 4), block(-8, -9, top_m=3.0)])
    intensity = rng.random(len(points), dtype=np.float32)
    raster = rasterize(points, intensity, CONFIG)
    binned = bin_points(points, CONFIG)
    cells: dict[int, list[tuple[float, float]]] = {}
    for cell, height, index in zip(binned.cell, binned.height_m, binned.index, strict=True):
        cells.setdefault(int(cell), []).append((float(height), float(intensity[index])))
    top, low = CONFIG.height_edges_m[-1], CONFIG.height_edges_m[0]
    for cell, items in cells.items():
        row, column = divmod(cell, CONFIG.shape[1])
        raised = [h for h, _ in items if low < h < top]
        expected = max(raised) / top if raised else 0.0
        assert channel(raster, "max_height")[row, column] == pytest.approx(expected, abs=1e-5)
        mean = sum(i for _, i in items) / len(items)
        assert channel(raster, "intensity")[row, column] == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("slope", [-0.08, 0.0, 0.08])
def test_slope_raises_nothing(slope):
    raster = rasterize(road(slope), None, CONFIG)
    assert raster[: len(CONFIG.height_edges_m) - 1].sum() == 0.0
    assert len(obstacle_points(road(slope), CONFIG)) == 0


def test_object_on_a_slope_keeps_its_height():
    points = np.concatenate([road(0.06), block(20, 0, base_m=1.2)])
    binned = bin_points(points, CONFIG)
    tops = binned.height_m[binned.index >= len(road())]
    assert tops.max() == pytest.approx(1.5, abs=0.25)


def test_roof_without_ground_below_takes_the_ground_around():
    points = road()
    away = (np.abs(points[:, 0] - 20) > 2.6) | (np.abs(points[:, 1]) > 2.6)
    roof = block(20, 0, base_m=1.4, top_m=0.1)
    binned = bin_points(np.concatenate([points[away], roof]), CONFIG)
    assert binned.height_m[binned.index >= away.sum()].min() > 0.8


def test_ground_is_reported_in_metres():
    raster = rasterize(road(height_m=-0.7), None, CONFIG)
    np.testing.assert_allclose(channel(raster, "ground_m"), -0.7, atol=1e-5)


@pytest.mark.parametrize("points", [np.zeros((0, 3), "f4"), np.full((9, 3), 1e4, "f4")])
def test_nothing_in_range_gives_an_empty_raster(points):
    raster = rasterize(points, np.ones(len(points), "f4"), CONFIG)
    assert np.isfinite(raster).all()
    assert not raster.any()
    assert obstacle_points(points, CONFIG).shape == (0, 3)


def test_returns_on_the_far_edges_do_not_wrap():
    edges = np.array([[51.2, 0, 1], [0, 25.6, 1], [-25.61, 0, 1], [0, -25.61, 1]], np.float32)
    assert len(bin_points(edges, CONFIG).index) == 0


def test_obstacles_are_thinned_evenly():
    near, far = block(8, 0), block(40, 10)[:1000]
    many = np.concatenate([road(), *[near + 0.001 * k for k in range(5)], far])
    found = obstacle_points(many, CONFIG)
    assert found.shape == (MAX_OBSTACLE_POINTS, 3)
    assert found.dtype == np.float32
    share = (found[:, 0] > 30).mean()
    assert share == pytest.approx(1000 / 11000, abs=0.02)
    assert set(map(tuple, found)) <= set(map(tuple, many))
