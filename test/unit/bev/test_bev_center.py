import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_perception.core import native
from edge_perception.core.errors import InvalidOutputError
from edge_perception.models.adapters.bev_center import (
    BevCenterDecoder,
    BevCenterOptions,
    Calibration,
    PresentModalities,
    peaks_numpy,
    peaks_of,
)

LABELS = ("car", "pedestrian")


def outputs(channels: int = 8) -> dict[str, np.ndarray]:
    """Empty heads of the default grid."""
    return {
        "heatmap": np.full((1, len(LABELS), 96, 64), -9.0, np.float32),
        "boxes": np.zeros((1, channels, 96, 64), np.float32),
    }


def put(heads, *, label=0, row, column, logit=2.0, size=(4.0, 2.0, 1.5), yaw=0.0, z=0.8):
    heads["heatmap"][0, label, row, column] = logit
    heads["boxes"][0, :8, row, column] = (
        0.5, 0.25, z, *np.log(size), math.sin(yaw), math.cos(yaw),
    )  # fmt: skip


def decode(heads, **options):
    return BevCenterDecoder(BevCenterOptions(**options), LABELS)(heads, None).objects


def test_peak_becomes_a_box_in_metres():
    heads = outputs()
    put(heads, row=50, column=20, yaw=-2.0)
    (found,) = decode(heads)
    assert found.class_name == "car"
    assert found.score == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert found.center_m == pytest.approx((-25.6 + 50.5 * 0.8, -25.6 + 20.25 * 0.8, 0.8))
    assert found.size_m == pytest.approx((4.0, 2.0, 1.5))
    assert found.yaw_rad == pytest.approx(-2.0)
    assert all(math.isnan(v) for v in found.velocity_mps)


def test_velocity_where_the_model_gives_it():
    heads = outputs(channels=10)
    put(heads, row=50, column=20)
    heads["boxes"][0, 8:, 50, 20] = (3.0, -1.0)
    assert decode(heads)[0].velocity_mps == pytest.approx((3.0, -1.0, 0.0))


def test_lower_neighbours_are_no_peaks():
    heads = outputs()
    put(heads, row=50, column=20, logit=3.0, size=(0.1, 0.1, 1.0))
    put(heads, row=51, column=21, logit=2.9, size=(0.1, 0.1, 1.0))
    assert len(decode(heads)) == 1


@pytest.mark.parametrize("second", [(50, 21), (51, 19), (51, 20), (51, 21)])
def test_two_equal_neighbours_give_one_peak(second):
    heads = outputs()
    put(heads, row=50, column=20, size=(0.1, 0.1, 1.0))
    put(heads, row=second[0], column=second[1], size=(0.1, 0.1, 1.0))
    assert len(decode(heads)) == 1


@pytest.mark.parametrize("row", [0, 95])
def test_two_equal_neighbours_at_the_border_give_one_peak(row):
    heads = outputs()
    put(heads, row=row, column=20, size=(0.1, 0.1, 1.0))
    put(heads, row=row, column=21, size=(0.1, 0.1, 1.0))
    assert len(decode(heads)) == 1


@pytest.mark.parametrize(("row", "column"), [(0, 0), (95, 63), (0, 63), (95, 0)])
def test_peaks_at_the_border_are_found(row, column):
    heads = outputs()
    put(heads, row=row, column=column)
    assert len(decode(heads)) == 1


def test_weaker_box_in_a_stronger_one_dies_and_its_neighbour_lives():
    heads = outputs()
    put(heads, row=50, column=20, logit=3.0, yaw=0.0)
    put(heads, row=52, column=20, logit=2.0)  # 1.6 m ahead: in the footprint
    put(heads, row=50, column=23, logit=1.0)  # 2.4 m beside: another car
    assert [round(o.center_m[1], 1) for o in decode(heads)] == [-9.4, -7.0]
    assert len(decode(heads, suppression_scale=0.0)) == 3


def test_footprint_follows_the_yaw():
    heads = outputs()
    put(heads, row=50, column=20, logit=3.0, yaw=math.pi / 2)
    put(heads, row=52, column=20, logit=2.0)  # beside the turned car
    assert len(decode(heads)) == 2


def test_thresholds_by_class_and_strongest_first():
    heads = outputs()
    put(heads, row=10, column=20, logit=0.0)
    put(heads, row=50, column=20, logit=1.0)
    put(heads, row=80, column=50, logit=0.0, label=1, size=(0.7, 0.7, 1.8))
    names = [o.class_name for o in decode(heads, class_thresholds={"car": 0.6})]
    assert names == ["car", "pedestrian"]
    scores = [o.score for o in decode(heads)]
    assert scores == sorted(scores, reverse=True)
    assert len(decode(heads, max_objects=1)) == 1


def test_temperature_softens_scores():
    heads = outputs()
    put(heads, row=50, column=20, logit=2.0)
    assert decode(heads, temperature=2.0)[0].score == pytest.approx(1 / (1 + math.exp(-1.0)))


def test_own_vehicle_is_left_out():
    heads = outputs()
    put(heads, row=32, column=32)
    assert len(decode(heads)) == 1
    assert decode(heads, ego_radius_m=1.5) == ()


def test_huge_sizes_stay_finite():
    heads = outputs()
    put(heads, row=50, column=20)
    heads["boxes"][0, 3:6, 50, 20] = 1e9
    assert all(math.isfinite(v) for v in decode(heads)[0].size_m)


@pytest.mark.parametrize(
    ("name", "value"),
    [("heatmap", np.zeros((1, 3, 96, 64))), ("boxes", np.zeros((1, 7, 96, 64)))],
)
def test_wrong_shape_is_refused(name, value):
    with pytest.raises(InvalidOutputError, match=name):
        decode({**outputs(), name: value})


def test_missing_output_is_refused():
    heads = outputs()
    del heads["boxes"]
    with pytest.raises(InvalidOutputError, match="boxes"):
        decode(heads)


def test_empty_heads_give_nothing():
    assert decode(outputs()) == ()


def test_score_is_calibrated_by_what_is_present():
    heads = outputs()
    put(heads, row=50, column=20, logit=2.0)
    options = BevCenterOptions(
        subsets={"camera": Calibration(temperature=4.0, bias=-1.0, class_thresholds={"car": 0.3})}
    )
    decoder = BevCenterDecoder(options, LABELS)
    (full,) = decoder(heads, PresentModalities(names=("camera", "lidar"))).objects
    (alone,) = decoder(heads, PresentModalities(names=("camera",))).objects
    assert full.score == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert alone.score == pytest.approx(1 / (1 + math.exp(0.5)))


def test_threshold_of_a_subset_counts_after_calibration():
    heads = outputs()
    put(heads, row=50, column=20, logit=2.0)  # scores 0.38 with the calibration below
    for threshold, found in ((0.37, 1), (0.39, 0)):
        calibration = Calibration(temperature=4.0, bias=-1.0, class_thresholds={"car": threshold})
        decoder = BevCenterDecoder(BevCenterOptions(subsets={"camera": calibration}), LABELS)
        assert len(decoder(heads, PresentModalities(names=("camera",))).objects) == found


@given(
    values=arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
        elements=st.sampled_from([-5.0, 0.0, 1.0, 2.0, float("inf"), float("nan")]),
    ),
    threshold=st.sampled_from([-6.0, 0.0, 1.0]),
)
def test_compiled_peaks_are_those_of_numpy(values, threshold):
    assert native.library() is not None
    thresholds = np.full((len(values), 1, 1), threshold, np.float32)
    found = peaks_of(values, thresholds)
    assert found.tolist() == peaks_numpy(values, thresholds).tolist()
    reversed_rows = values[:, ::-1]  # a view that is not contiguous
    assert (
        peaks_of(reversed_rows, thresholds).tolist()
        == peaks_of(reversed_rows.copy(), thresholds).tolist()
    )
