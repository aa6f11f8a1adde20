"""Drift in virtual drives: silence for ten hours, and each planted shift found."""

import numpy as np
import pytest

from edge_perception.bench._drift_trials import WITHIN_FRAMES, drive_on, reference_of, section_of
from edge_perception.bench._virtual_drive import BLOCK, SHIFTS, VirtualDrive
from edge_perception.core.errors import ConfigurationError
from edge_perception.monitoring.drift.detector import DriftDetector, DriftLimits
from edge_perception.monitoring.drift.reference import (
    ALL,
    LEAST_FRAMES,
    SectionBuilder,
    read_reference,
)


@pytest.fixture(scope="module")
def day():
    return section_of(seed=1)


def test_ten_hours_of_clean_driving_raise_no_alert(day):
    detector, drive = DriftDetector("camera", reference_of(all=day)), VirtualDrive(seed=2)
    drive_on(detector, drive, 360_000)
    assert detector.book.raised == 0
    assert detector.unknown == ""
    judged = [name for name, look in detector.looks.items() if np.isfinite(look.psi)]
    assert set(judged) == set(SHIFTS)


@pytest.mark.parametrize("quantity", SHIFTS)
def test_a_planted_shift_is_found_and_named(day, quantity):
    detector, drive = DriftDetector("camera", reference_of(all=day)), VirtualDrive(seed=5)
    drive_on(detector, drive, 6000)
    assert detector.book.raised == 0
    planted_ns = drive.stamp_ns
    shift = {quantity: SHIFTS[quantity]}
    assert drive_on(detector, drive, WITHIN_FRAMES, shift, until=quantity), detector.looks
    (alert,) = (alert for alert in detector.alerts if alert.quantity == quantity)
    assert planted_ns - 30e9 <= alert.since_ns <= drive.stamp_ns
    assert "->" in alert.text
    assert "since" in alert.text
    assert alert.before != alert.now


def test_a_median_beyond_what_the_reference_saw_is_not_told_as_its_edge(day):
    for shift, said in ((-8.0, "median below "), (8.0, "median above ")):
        detector, drive = DriftDetector("camera", reference_of(all=day)), VirtualDrive(seed=5)
        drive_on(detector, drive, 3000, {"brightness": shift})
        (alert,) = (alert for alert in detector.alerts if alert.quantity == "brightness")
        assert alert.now.startswith(said)
        assert "mean" in alert.now


def test_an_alert_ends_when_the_shift_does(day):
    detector, drive = DriftDetector("camera", reference_of(all=day)), VirtualDrive(seed=6)
    drive_on(detector, drive, 2000)
    drive_on(detector, drive, 3000, {"brightness": 2.0})
    assert [alert.quantity for alert in detector.alerts] == ["brightness"]
    drive_on(detector, drive, 6000)
    assert detector.alerts == ()
    assert detector.book.raised == 1


def test_a_storm_is_told_in_part_and_counted(day):
    detector, drive = DriftDetector("camera", reference_of(all=day)), VirtualDrive(seed=7)
    drive_on(detector, drive, 4000, dict.fromkeys(SHIFTS, 3.0))
    most = DriftLimits().damping.most_new
    assert len(detector.alerts) == most
    assert detector.book.held_back >= 3


def test_night_has_its_own_reference(day):
    dark = {"brightness": -5.0, "score": -1.0}
    night = section_of(seed=11, shift=dark, minutes=20)
    detector, drive = DriftDetector("camera", reference_of(day=day, night=night)), VirtualDrive(12)
    detector.set_condition("night")
    drive_on(detector, drive, 6000, dark)
    assert detector.book.raised == 0
    assert detector.unknown == ""
    detector.set_condition("day")
    assert "fewer than" in detector.unknown
    assert drive_on(detector, drive, WITHIN_FRAMES, dark, until="brightness")
    detector.set_condition("dusk")
    assert detector.unknown == "no reference for 'dusk', there is day, night"
    assert detector.alerts == ()
    assert dict(detector.looks) == {}


def test_no_reference_is_not_known():
    detector = DriftDetector("camera", None)
    detector.add(10**9, {"score": [0.5]}, ["car"])
    assert detector.unknown == "no reference"
    assert dict(detector.looks) == {}
    assert detector.alerts == ()


def test_memory_is_constant_and_gaps_and_jumps_begin_anew(day):
    detector, drive = DriftDetector("camera", reference_of(all=day)), VirtualDrive(seed=8)
    sizes = set()
    for _ in range(40):
        drive_on(detector, drive, 10 * BLOCK)
        sizes.add(sum(item.window._counts.size for item in detector._quantities.values()))
    assert len(sizes) == 1
    values, names = drive.block({"brightness": 4.0})
    detector.add_many(drive.stamp_ns + 10**13, values, names)  # hours later
    assert sum(detector._quantities["brightness"].window.counts) == BLOCK
    detector.add_many(drive.stamp_ns, values, names)  # and back: the bag began anew
    assert sum(detector._quantities["brightness"].window.counts) == BLOCK


def test_hostile_numbers_are_left_out(day):
    detector = DriftDetector("camera", reference_of(all=day))
    for at in range(200):
        detector.add(10**9 * (at + 1), {"brightness": [float("nan"), float("inf"), -float("inf")]})
    assert detector._quantities["brightness"].window.counts.sum() == 0
    assert detector.book.raised == 0


def test_a_reference_is_written_and_read_and_a_broken_one_is_named(day, tmp_path):
    path = tmp_path / "camera.drift.json"
    reference = reference_of(all=day)
    reference.write(path)
    assert read_reference(path) == reference
    text = path.read_text()
    for broken, told in (
        (text.replace('"frames": ', '"framez": ', 1), "framez"),
        (text.replace('"tau": ', '"tau": -', 1), "tau"),
        (text.replace('"counts": [', '"counts": [-5,', 1), "counts"),
        (text[:100], "expected a drift reference"),
    ):
        path.write_text(broken)
        with pytest.raises(ConfigurationError, match=told) as caught:
            read_reference(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ConfigurationError, match="expected a drift reference"):
        read_reference(tmp_path / "none.json")


def test_a_little_of_what_never_was_is_no_drift():
    builder = SectionBuilder()
    for _ in range(500):
        builder.add({"input.drop_share": [0.0], "input.contrast": [179.0]})
    detector = DriftDetector("lidar", reference_of(all=builder.section()))
    for step in range(1200):
        drop = 0.0003 if step % 7 == 0 else 0.0
        values = {"input.drop_share": [drop], "input.contrast": [179.0 + 0.5 * (step % 3)]}
        detector.add(10**9 + step * 2 * 10**8, values)
    assert np.isfinite(detector.looks["input.drop_share"].psi)
    assert detector.book.raised == 0


def test_few_frames_are_no_reference():
    builder = SectionBuilder()
    for _ in range(LEAST_FRAMES - 1):
        builder.add({"score": [0.5]})
    with pytest.raises(ConfigurationError, match=f"at least {LEAST_FRAMES} frames"):
        builder.section()


def test_all_holds_for_every_condition_only_where_there_is_nothing_else(day):
    detector = DriftDetector("camera", reference_of(**{ALL: day}))
    detector.set_condition("night")
    assert "fewer than" in detector.unknown
    both = DriftDetector("camera", reference_of(**{ALL: day, "day": day}))
    both.set_condition("night")
    assert both.unknown.startswith("no reference for 'night'")


def test_things_that_stay_in_view_are_few_however_often_they_are_seen():
    rng, builder = np.random.default_rng(3), SectionBuilder()
    for _ in range(60):
        lengths = rng.normal(4.5, 0.8, 3)  # three others every five seconds
        for _ in range(25):
            builder.add({"length_m": list(lengths + rng.normal(0.0, 0.02, 3))})
    known = builder.section().quantities["length_m"]
    assert 10.0 < known.tau < 100.0, "each is seen 25 times"
    independent = SectionBuilder()
    for _ in range(1500):
        independent.add({"length_m": list(rng.normal(4.5, 0.8, 3))})
    assert independent.section().quantities["length_m"].tau < 2.0
