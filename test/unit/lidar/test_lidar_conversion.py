"""PointCloud2 of every layout, and what is refused."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lidar_messages import CODES, STAMP_NS, cloud_msg, xyz

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.scratch import Scratch
from edge_perception.encoders.content import Verdict
from edge_perception.encoders.lidar.content import CloudContentCheck, CloudContentLimits
from edge_perception.encoders.lidar.conversion import cloud_from_msg
from edge_perception.encoders.lidar.intensity import comparable


def stacked(values: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack([values[axis] for axis in "xyz"], axis=1)


def test_plain_cloud() -> None:
    values = xyz()
    cloud = cloud_from_msg(cloud_msg(values))
    np.testing.assert_array_equal(cloud.xyz_m, stacked(values))
    assert cloud.xyz_m.dtype == np.float32
    assert cloud.xyz_m.flags.c_contiguous
    assert (cloud.stamp_ns, cloud.frame_id) == (STAMP_NS, "lidar")
    assert cloud.intensity is cloud.ring is cloud.time_offset_s is None


@pytest.mark.parametrize("name", ["Intensity", "reflectance", "Reflectivity", "I"])
def test_names_in_capitals_and_other_words_for_intensity(name: str) -> None:
    values = xyz()
    capitals = {axis.upper(): values[axis] for axis in "xyz"} | {name: np.arange(12) * 20}
    kinds = {**dict.fromkeys("XYZ", "f4"), name: "u1"}
    cloud = cloud_from_msg(cloud_msg(capitals, kinds))
    np.testing.assert_array_equal(cloud.xyz_m, stacked(values))
    np.testing.assert_allclose(cloud.intensity, np.arange(12) * 20 / 255, atol=1e-6)
    assert "field 'X' is read as x" in cloud.notes
    both = {**capitals, **values}
    assert cloud_from_msg(cloud_msg(both, {**kinds, **dict.fromkeys("xyz", "f8")})).xyz_m.shape == (
        12,
        3,
    )


@settings(max_examples=120)
@given(
    order=st.permutations(["x", "y", "z", "rgb", "ring", "intensity"]),
    kind=st.sampled_from(["f4", "f8"]),
    lead=st.integers(0, 5),
    gap=st.integers(0, 5),
    big_endian=st.booleans(),
    height=st.sampled_from([1, 2, 3, 4, 12]),
    row_padding=st.integers(0, 9),
)
def test_any_layout(
    order: list[str],
    kind: str,
    lead: int,
    gap: int,
    big_endian: bool,
    height: int,
    row_padding: int,
) -> None:
    points = xyz()
    extra = {"rgb": np.zeros(12), "ring": np.arange(12), "intensity": np.arange(12) * 5}
    values = {name: {**points, **extra}[name] for name in order}
    kinds = {**dict.fromkeys("xyz", kind), "ring": "u2", "intensity": "u1"}
    cloud = cloud_from_msg(
        cloud_msg(
            values,
            kinds,
            lead=lead,
            gap=gap,
            big_endian=big_endian,
            height=height,
            row_padding=row_padding,
        )
    )
    np.testing.assert_array_equal(cloud.xyz_m, stacked(points).astype(np.float32))
    np.testing.assert_array_equal(cloud.ring, np.arange(12))
    np.testing.assert_allclose(cloud.intensity, np.arange(12) * 5 / 255, rtol=1e-6)


@pytest.mark.parametrize("container", [bytes, bytearray, memoryview, np.array, "array"])
def test_data_of_any_buffer(container: Any) -> None:
    message = cloud_msg(xyz())
    raw = message.data
    if container == "array":
        message.data = array.array("B", raw)
    else:
        message.data = container(np.frombuffer(raw, np.uint8) if container is np.array else raw)
    np.testing.assert_array_equal(cloud_from_msg(message).xyz_m, stacked(xyz()))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_points_that_are_not_finite_are_dropped_with_their_fields(bad: float) -> None:
    values = {**xyz(), "ring": np.arange(12), "intensity": np.arange(12) / 12}
    values = {name: column.copy() for name, column in values.items()}
    for axis, index in (("x", 1), ("y", 5), ("z", 11)):
        values[axis][index] = bad
    cloud = cloud_from_msg(cloud_msg(values, {"ring": "u1"}, is_dense=True))  # is_dense lies
    keep = [i for i in range(12) if i not in (1, 5, 11)]
    np.testing.assert_array_equal(cloud.xyz_m, stacked(values)[keep])
    np.testing.assert_array_equal(cloud.ring, keep)
    np.testing.assert_allclose(cloud.intensity, np.array(keep) / 12, rtol=1e-6)


def test_infinities_that_cancel_are_dropped_too() -> None:
    values = xyz()
    values["x"][0], values["y"][0] = np.inf, -np.inf
    assert len(cloud_from_msg(cloud_msg(values)).xyz_m) == 11


def test_coordinates_past_float32_are_dropped() -> None:
    values = {axis: column.astype(np.float64) for axis, column in xyz().items()}
    values["z"][3] = 1e300
    cloud = cloud_from_msg(cloud_msg(values, dict.fromkeys("xyz", "f8")))
    assert len(cloud.xyz_m) == 11


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        ("u1", [0, 51, 255], [0, 0.2, 1]),
        ("u2", [0, 51, 255], [0, 0.2, 1]),
        ("f4", [0, 0.2, 1.0], [0, 0.2, 1]),
        ("f4", [0, 51.0, 255.0], [0, 0.2, 1]),
        ("f4", [0, 0.2, 1.3], [0, 0.2, 1]),  # a retroreflector
        ("f8", [0.5, 0.2, 1.3], [0.5, 0.2, 1]),
        ("f4", [0, 1.0, 3.0], [0, 1 / 255, 3 / 255]),  # whole numbers: dark, of 0 to 255
        ("f8", [0, 51.0, 255.5], [0, 0.2, 1]),
        ("f4", [-3.0, np.nan, 0.5], [0, 0, 0.5]),
        ("u4", [0, 51, 255], [0, 0.2, 1]),
        ("i1", [-5, 0, 127], [0, 0, 1]),
    ],
)
@pytest.mark.parametrize("name", ["intensity", "reflectivity"])
def test_intensity_becomes_0_to_1(
    name: str, kind: str, raw: list[float], expected: list[float]
) -> None:
    cloud = cloud_from_msg(cloud_msg({**xyz(3), name: raw}, {name: kind}))
    np.testing.assert_allclose(cloud.intensity, expected, atol=1e-6)
    assert cloud.intensity.dtype == np.float32


def test_a_level_in_db_is_no_brightness():
    values = {"intensity": np.linspace(-60, 1, 12)}
    cloud = cloud_from_msg(cloud_msg({**xyz(), **values}, {"intensity": "f4"}))
    assert cloud.intensity is None
    assert any("'intensity' is negative" in note for note in cloud.notes)
    values["reflectivity"] = np.arange(12) * 20
    cloud = cloud_from_msg(cloud_msg({**xyz(), **values}, {"intensity": "f4"}))
    np.testing.assert_allclose(cloud.intensity, np.arange(12) * 20 / 255, rtol=1e-6)


@pytest.mark.parametrize("gain", [0.05, 0.25, 0.7, 1.0, 1.6, 4.0, 9.0])
def test_intensity_of_any_scale_is_made_comparable(gain: float) -> None:
    rng = np.random.default_rng(1)
    own = np.minimum(gain * rng.exponential(0.05, 20_000), 1.0).astype(np.float32)
    own[::20] = 0.0  # no measurement
    before = own.copy()
    got, note = comparable(own, 0.035, Scratch())
    assert 0.5 < float(np.median(got[got > 0])) / 0.035 < 2.0
    assert bool(note) == (not 0.5 < gain < 2.0)
    np.testing.assert_array_equal(own, before)
    assert got.max() <= 1.0


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_the_same_intensity_everywhere_is_none(value: float) -> None:
    got, note = comparable(np.full(100, value, np.float32), 0.035, Scratch())
    assert got is None
    assert f"{value:.3g} everywhere" in note
    assert comparable(np.zeros(0, np.float32), 0.035, Scratch())[0] is not None


SECONDS = [0.0, 0.03125, 0.0625]


@pytest.mark.parametrize(
    ("name", "kind", "raw"),
    [
        ("t", "u4", [0, 31_250_000, 62_500_000]),  # Ouster: ns
        ("time_stamp", "u4", [0, 31_250_000, 62_500_000]),  # Autoware: ns
        ("time", "f4", SECONDS),  # Velodyne: s
        ("time_offset", "i4", [0, 31_250_000, 62_500_000]),
        ("timestamp", "f8", [STAMP_NS / 1e9 + s for s in SECONDS]),  # Hesai: absolute s
        ("timestamp", "f8", [STAMP_NS + s * 1e9 for s in SECONDS]),  # Livox: absolute ns
        ("timestamp", "f8", SECONDS),
    ],
)
def test_point_times(name: str, kind: str, raw: list[float]) -> None:
    cloud = cloud_from_msg(cloud_msg({**xyz(3), name: raw}, {name: kind}))
    np.testing.assert_allclose(cloud.time_offset_s, SECONDS, atol=1e-6)
    assert cloud.time_offset_s.dtype == np.float32


def test_times_before_the_stamp() -> None:
    """Some drivers stamp the sweep at its end."""
    cloud = cloud_from_msg(cloud_msg({**xyz(3), "time": [-0.1, -0.05, 0.0]}))
    np.testing.assert_allclose(cloud.time_offset_s, [-0.1, -0.05, 0.0], atol=1e-6)


@pytest.mark.parametrize("raw", [[5000.0, 5000.05, 5000.1], [0.0, np.nan, 0.1]])
def test_times_of_another_clock_are_not_used(raw: list[float]) -> None:
    cloud = cloud_from_msg(cloud_msg({**xyz(3), "timestamp": raw}, {"timestamp": "f8"}))
    assert cloud.time_offset_s is None
    assert len(cloud.xyz_m) == 3


def test_last_row_may_lack_its_padding() -> None:
    message = cloud_msg(xyz(), height=3, row_padding=8)
    message.data = message.data[:-8]
    np.testing.assert_array_equal(cloud_from_msg(message).xyz_m, stacked(xyz()))


def without(message: Any, *names: str) -> Any:
    message.fields = [field for field in message.fields if field.name not in names]
    return message


def test_missing_coordinates_are_named() -> None:
    message = without(cloud_msg({**xyz(), "intensity": np.zeros(12)}), "y", "z")
    with pytest.raises(InvalidFrameError, match="y, z missing, got x, intensity"):
        cloud_from_msg(message)
    with pytest.raises(InvalidFrameError, match="x, y, z missing, got none"):
        cloud_from_msg(without(cloud_msg(xyz()), "x", "y", "z"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"width": 0}, "expected points, got 0 x 1"),
        ({"height": 0}, "got 12 x 0"),
        ({"width": 2**30}, "expected at most 16777216 points"),
        ({"data": b"\0" * 143}, "data expects at least 144 bytes for 12 x 1 .* got 143"),
        ({"data": b""}, "got 0"),
        ({"data": [0] * 144}, "buffer of bytes, got list"),
        ({"point_step": 8}, "field 'z' ends at byte 12, a point has 8"),
        ({"point_step": 0}, "a point has 0"),
    ],
)
def test_refused(changes: dict[str, Any], text: str) -> None:
    message = cloud_msg(xyz())
    vars(message).update(changes)
    with pytest.raises(InvalidFrameError, match=text):
        cloud_from_msg(message)


def test_unknown_datatype() -> None:
    message = cloud_msg(xyz())
    message.fields[1].datatype = 11
    with pytest.raises(InvalidFrameError, match="field 'y' expects a datatype 1 to 8, got 11"):
        cloud_from_msg(message)


def test_a_count_of_zero_is_one_value() -> None:
    message = cloud_msg(xyz())
    for field in message.fields:
        field.count = 0
    cloud = cloud_from_msg(message)
    np.testing.assert_array_equal(cloud.xyz_m, stacked(xyz()))
    assert cloud.notes == ("fields with count 0 are read as one value",)


@pytest.mark.parametrize(
    ("datatype", "count"), [(6, 2), (9, 1), (10, 1), (11, 4)], ids=["2 x uint32", "9", "10", "11"]
)
@pytest.mark.parametrize("name", ["timestamp", "ring", "t"])
def test_a_time_of_64_bits_costs_no_point(name: str, datatype: int, count: int) -> None:
    """PointField has no such type; PCL writes its own numbers, drivers two of 32 bits."""
    message = cloud_msg({**xyz(), "intensity": np.full(12, 51.0), name: np.ones(12)}, {name: "f8"})
    message.fields[-1].datatype, message.fields[-1].count = datatype, count
    cloud = cloud_from_msg(message)
    np.testing.assert_array_equal(cloud.xyz_m, stacked(xyz()))
    np.testing.assert_allclose(cloud.intensity, 0.2, atol=1e-6)
    assert cloud.notes == (f"field '{name}' is of a kind that PointField does not have: not read",)


@pytest.mark.parametrize(("datatype", "count"), [(6, 2**31), (10, 9), (12, 1), (0, 1)])
def test_a_field_beyond_its_point_is_still_refused(datatype: int, count: int) -> None:
    message = cloud_msg({**xyz(), "timestamp": np.ones(12)}, {"timestamp": "f8"})
    message.fields[-1].datatype, message.fields[-1].count = datatype, count
    with pytest.raises(InvalidFrameError, match="'timestamp'"):
        cloud_from_msg(message)


def test_integers_have_no_unit() -> None:
    with pytest.raises(InvalidFrameError, match="'x' expects float32 or float64, in m"):
        cloud_from_msg(cloud_msg(xyz(), dict.fromkeys("xyz", "i2")))


def test_a_point_step_that_row_step_and_data_contradict() -> None:
    message = cloud_msg({**xyz(), "range": np.ones(12), "azimuth": np.ones(12)})
    message.point_step = 12
    with pytest.raises(InvalidFrameError, match=r"point_step expects 20 bytes, .* got 12"):
        cloud_from_msg(message)


def test_data_behind_the_last_row_is_told() -> None:
    message = cloud_msg(xyz())
    message.width, message.row_step = 5, 60
    cloud = cloud_from_msg(message)
    np.testing.assert_array_equal(cloud.xyz_m, stacked(xyz())[:5])
    assert "behind the last row is left out" in cloud.notes[0]


@pytest.mark.parametrize("height", [1, 3])
def test_more_bytes_for_each_point_than_point_step_says(height: int) -> None:
    """x, y, z are declared, and the sensor's own structure is copied: which point is where?"""
    values = {**xyz(), "layer": np.arange(12), "time": np.ones(12)}
    message = cloud_msg(values, {"layer": "i4"}, height=height)
    message.fields, message.point_step, message.row_step = message.fields[:3], 12, 144 // height
    with pytest.raises(
        InvalidFrameError, match=r"data has 20 bytes for each .* point_step says 12"
    ):
        cloud_from_msg(message)


def test_room_for_more_points_that_holds_nothing_is_left_out() -> None:
    message = cloud_msg(xyz())
    message.data += bytes(len(message.data))
    np.testing.assert_array_equal(cloud_from_msg(message).xyz_m, stacked(xyz()))


def test_nothing_but_nan() -> None:
    nothing = {axis: np.full(5, np.nan, np.float32) for axis in "xyz"}
    with pytest.raises(InvalidFrameError, match=r"none of 5 points is a return: .* NaN or Inf"):
        cloud_from_msg(cloud_msg(nothing))


def directions(points: int = 400) -> np.ndarray:
    rays = np.random.default_rng(4).normal(size=(points, 3))
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def places() -> np.ndarray:
    return directions() * np.random.default_rng(5).uniform(15.0, 60.0, (400, 1))


@pytest.mark.parametrize(
    ("scale", "origin"),
    [(1e3, (0, 0, 0)), (1.0, (5e5, 4e6, 100.0))],
    ids=["millimetres", "UTM"],
)
def test_places_beyond_all_range_are_no_beams_without_a_return(scale, origin) -> None:
    xyz = places() * scale + origin
    message = cloud_msg(dict(zip("xyz", xyz.T, strict=True)), dict.fromkeys("xyz", "f8"))
    try:
        said = "; ".join(cloud_from_msg(message).notes)
    except InvalidFrameError as error:
        said = str(error)
    assert "most points are beyond 10 km, each at a place of its own: not in metres" in said
    assert "without a return" not in said


@pytest.mark.parametrize("mark", [1e31, 65535.0, 1e9])
@pytest.mark.parametrize("along_beams", [False, True])
def test_marks_beyond_all_range_are_beams_without_a_return(mark, along_beams) -> None:
    xyz = places()
    xyz[:300] = directions()[:300] * mark if along_beams else mark
    cloud = cloud_from_msg(cloud_msg(dict(zip("xyz", xyz.T, strict=True))))
    assert len(cloud.xyz_m) == 100
    assert cloud.notes == ("points beyond 10 km are beams without a return",)


@settings(max_examples=150)
@given(
    size=st.tuples(st.integers(0, 5), st.integers(0, 3)),
    steps=st.tuples(st.integers(0, 40), st.integers(0, 120)),
    fields=st.lists(
        st.tuples(
            st.sampled_from(["x", "y", "z", "intensity", "ring", "time", "other"]),
            st.integers(0, 40),
            st.integers(0, 10),
        ),
        max_size=7,
    ),
    data=st.binary(max_size=300),
    big_endian=st.booleans(),
)
def test_whatever_comes_is_a_finite_cloud_or_refused(
    size: tuple[int, int],
    steps: tuple[int, int],
    fields: list[tuple[str, int, int]],
    data: bytes,
    big_endian: bool,
) -> None:
    message = cloud_msg(xyz())
    message.width, message.height = size
    message.point_step, message.row_step = steps
    message.data, message.is_bigendian = data, big_endian
    kind = type(message.fields[0])
    message.fields = [kind(name=n, offset=o, datatype=d, count=1) for n, o, d in fields]
    try:
        cloud = cloud_from_msg(message)
    except InvalidFrameError:
        return
    count = len(cloud.xyz_m)
    assert 0 < count <= size[0] * size[1]
    assert np.isfinite(cloud.xyz_m).all()
    for values in (cloud.intensity, cloud.ring, cloud.time_offset_s):
        assert values is None or (len(values) == count and np.isfinite(values).all())
    assert cloud.intensity is None or (cloud.intensity.min() >= 0 and cloud.intensity.max() <= 1)


def test_agrees_with_sensor_msgs_py() -> None:
    """ROS's own reader, where it is installed, on the message class of rclpy."""
    reader = pytest.importorskip(
        "sensor_msgs_py.point_cloud2", reason="sensor_msgs_py is not installed"
    )
    from sensor_msgs.msg import PointCloud2, PointField

    fake = cloud_msg({**xyz(), "intensity": np.arange(12)}, {"intensity": "f4"}, gap=4)
    message = PointCloud2(
        width=12,
        height=1,
        point_step=fake.point_step,
        row_step=fake.row_step,
        fields=[
            PointField(name=f.name, offset=f.offset, datatype=CODES["f4"], count=1)
            for f in fake.fields
        ],
        data=array.array("B", fake.data),
    )
    theirs = reader.read_points_numpy(message, field_names=["x", "y", "z"])
    np.testing.assert_array_equal(cloud_from_msg(message).xyz_m, theirs)


def test_a_row_step_without_the_padding_that_the_data_has() -> None:
    """Each row would begin a little earlier, and all coordinates be of chance."""
    message = cloud_msg(xyz(60), height=6, row_padding=4)
    message.row_step -= 4
    with pytest.raises(InvalidFrameError, match="row_step expects 124 bytes"):
        cloud_from_msg(message)


@pytest.mark.parametrize("field", ["rcs", "RCS", "snr", "radial_speed", "doppler"])
def test_a_cloud_of_a_radar_is_told_by_its_fields(field: str) -> None:
    xyz = np.random.default_rng(4).uniform(-40, 40, (120, 3)).astype(np.float32)
    columns = {**dict(zip("xyz", xyz.T, strict=True)), field: np.ones(120)}
    doubt = cloud_from_msg(cloud_msg(columns)).doubt
    assert doubt.startswith(f"the cloud is a radar's by its fields ({field})")
    found = CloudContentCheck(CloudContentLimits()).check(cloud_from_msg(cloud_msg(columns)))
    assert (found.verdict, found.text) == (Verdict.DOUBTFUL, doubt)


def test_a_lidar_that_measures_speed_is_no_radar() -> None:
    xyz = np.random.default_rng(4).uniform(-40, 40, (60_000, 3)).astype(np.float32)
    columns = {**dict(zip("xyz", xyz.T, strict=True)), "doppler": np.ones(len(xyz))}
    assert cloud_from_msg(cloud_msg(columns)).doubt == ""
