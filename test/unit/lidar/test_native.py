"""The compiled loops give the bits of NumPy, which tests and training can read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_perception.core.scratch import Scratch
from edge_perception.core.types import Geometry
from edge_perception.encoders.lidar import encoder, intensity, preprocess, returns
from edge_perception.encoders.lidar.native import native

CONFIG = preprocess.LidarPreprocessing()
SMALL = preprocess.LidarPreprocessing(
    x_range_m=(-3.0, 4.0), y_range_m=(-2.0, 2.0), cell_m=0.25, height_edges_m=(0.2, 0.5, 2.0)
)
TINY = preprocess.LidarPreprocessing(  # one coarse cell
    x_range_m=(-1.0, 1.4), y_range_m=(-1.0, 1.0), cell_m=0.2, height_edges_m=(0.2, 0.5, 2.0)
)
T = np.array([[0.9, -0.1, 0.02, 1.5], [0.1, 0.95, 0.03, -0.2], [0, 0.02, 0.99, 1.8], [0, 0, 0, 1]])


def sweep(seed, points, spread_m):
    rng = np.random.default_rng(seed)
    xyz = rng.normal(0, spread_m, (points, 3)).astype(np.float32)
    xyz[:, 2] = rng.exponential(0.6, points) - 1.7
    return xyz, rng.uniform(0, 1, points).astype(np.float32)


def reference(xyz, intensity, config):
    moved = encoder.to_base(xyz, Geometry(T_base_sensor=T))
    binned = preprocess.bin_points(moved, config)
    raster = preprocess.rasterize(moved, intensity, config, binned=binned)
    return preprocess.raised_points(binned, config), raster


def compiled_sweep(xyz, intensity, config, sweeper=None):
    sweeper = sweeper or native().sweeper(preprocess.sweep_plan(config))
    return sweeper(xyz, T[:3].astype(np.float32), intensity), sweeper.raster


def without(monkeypatch):
    for module in (returns, intensity, encoder):
        monkeypatch.setattr(module, "native", lambda: None)


def test_the_build_has_the_library():
    assert native() is not None, "not on the library path: build with `make build`"


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    points=st.integers(1, 3000),
    spread_m=st.sampled_from([0.5, 3.0, 30.0]),
    config=st.sampled_from([CONFIG, SMALL, TINY]),
    with_intensity=st.booleans(),
)
def test_the_same_bits_as_numpy(seed, points, spread_m, config, with_intensity):
    xyz, intensity = sweep(seed, points, spread_m)
    given_intensity = intensity if with_intensity else None
    got = compiled_sweep(xyz, given_intensity, config)
    for mine, wanted in zip(got, reference(xyz, given_intensity, config), strict=True):
        np.testing.assert_array_equal(mine, wanted)


def test_buffers_that_are_used_again_hold_nothing_of_the_sweep_before():
    sweeper = native().sweeper(preprocess.sweep_plan(CONFIG))
    for seed, points in ((1, 5000), (2, 300), (3, 8000), (4, 1), (5, 5000)):
        xyz, intensity = sweep(seed, points, 10.0)
        some = None if seed == 3 else intensity
        got = compiled_sweep(xyz, some, CONFIG, sweeper)
        for mine, wanted in zip(got, reference(xyz, some, CONFIG), strict=True):
            np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize(
    "kind", ["u1", "<u2", "<u2 counts", "<f4", "<f4 to 255", "<f4 to 1.3", "<f4 counts"]
)
@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("some", [False, True])
def test_the_same_intensity_as_numpy(monkeypatch, kind, step, some):
    rng = np.random.default_rng(5)
    top = 3000 if "counts" in kind else 256
    values = rng.integers(0, top, 3500).astype(kind.split()[0])
    if kind.startswith("<f4"):
        tops = {"<f4": 1.0, "<f4 to 255": 255.0, "<f4 to 1.3": 1.3, "<f4 counts": 3000.0}
        values = rng.uniform(-0.2, tops[kind], 3500).astype(np.float32)
        values[[7, 700, 1400]] = np.nan, np.inf, -np.inf
    packed = np.zeros(3500, np.dtype([("pad", "u1", step - 1), ("intensity", values.dtype)]))
    packed["intensity"] = values
    index = np.sort(rng.permutation(3500)[:3000]).astype(np.int32) if some else None
    notes = []
    got = intensity.unit_intensity(packed, index, Scratch(), notes)
    without(monkeypatch)
    again = []
    wanted = intensity.unit_intensity(packed, index, Scratch(), again)
    np.testing.assert_array_equal(got, wanted)
    assert notes == again
    assert bool(notes) is ("counts" in kind)
    assert got.min() >= 0.0
    assert got.max() <= 1.0
    assert 0.2 < np.median(got) < 0.8


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, 1e31])
@pytest.mark.parametrize("layout", ["packed", "big_endian", "padded"])
def test_beams_without_a_return_are_found_in_every_layout(monkeypatch, bad, layout):
    order = ">" if layout == "big_endian" else "<"
    dtype = np.dtype({"names": ["z", "x", "y"], "formats": [order + "f4"] * 3,
                      "offsets": [4, 9, 13], "itemsize": 20})  # fmt: skip
    points = np.zeros(100, dtype)
    xyz, _ = sweep(3, 100, 5.0)
    for axis, name in enumerate("xyz"):
        points[name] = xyz[:, axis]
        points[name][[4, 76]] = bad
    if layout == "padded":
        points = np.concatenate([points, points])[::2]
    compiled = returns.returns_of(points, Scratch())
    without(monkeypatch)
    expected = returns.returns_of(points, Scratch())
    np.testing.assert_array_equal(compiled.xyz_m, expected.xyz_m)
    np.testing.assert_array_equal(compiled.index, expected.index)
    assert compiled.notes == expected.notes
    assert len(compiled.notes) == 1
    assert len(points) - len(compiled.xyz_m) == (4 if layout == "padded" else 2)
