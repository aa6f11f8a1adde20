"""Pictures are written, as wide as promised, and show what they are given."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from made_up_run import OPTICAL, PLAY_NS, car, found

from edge_perception.core.picture_style import EMERGENCY, EVIDENCE, bgr, evidence
from edge_perception.core.types import Mode
from edge_perception.demo.cuts import CutReport
from edge_perception.demo.rig import _frame_of, _fullest
from edge_perception.observe.overview.picture import box_corners, camera_picture
from edge_perception.samples.matching import Region
from edge_perception.samples.truth import MountedCamera, pose_of

K = np.array([[1000.0, 0, 960], [0, 1000, 540], [0, 0, 1]])
CUT = CutReport(
    source="lidar", from_s=1.0, to_s=2.0, messages=10, longest_gap_s=0.1, degraded_after_s=0.05,
    modes={"DEGRADED": 10}, other_sources_blamed=(), full_after_s=0.05,
)  # fmt: skip


@pytest.fixture
def pyplot():
    return pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")


def painted(picture, kind):
    return int((picture == np.array(bgr(EVIDENCE[kind]), np.uint8)).all(axis=2).sum())


def draw(objects):
    return camera_picture(
        np.full((1080, 1920, 3), 128, np.uint8),
        objects,
        K=K,
        T_camera_base=np.linalg.inv(OPTICAL),
        title="test",
    )


def test_the_camera_picture_shows_boxes_in_the_colour_of_their_sources():
    picture = draw([found(10, 0), found(15, 4, sources=("lidar",))])
    empty = draw([])
    assert picture.shape[1] == 1600
    for kind in ("camera + lidar", "lidar"):
        assert painted(picture, kind) > painted(empty, kind) + 500
    assert painted(picture, "camera") == painted(empty, "camera")


def test_objects_behind_the_camera_are_not_drawn():
    assert (draw([found(-10, 0), found(0.2, 0)]) == draw([])).all()


def siren_car(x, y):
    return replace(
        found(x, y, sources=("camera",)), track_id=7, velocity_mps=(6.0, 0.0, 0.0),
        emergency_evidence="siren heard",
    )  # fmt: skip


def test_the_vehicle_of_a_siren_is_framed():
    def framed(picture):
        return int((picture == np.array(bgr(EMERGENCY), np.uint8)).all(axis=2).sum())

    assert framed(draw([siren_car(15, 4)])) > 200
    assert not framed(draw([found(15, 4)]))


def test_a_track_says_its_number_and_where_it_is_a_second_later(pyplot):
    from edge_perception.core.picture_tracks import draw_track

    figure, axes = pyplot.subplots()
    axes.set(xlim=(0, 50), ylim=(-20, 20))
    track = {"track_id": 7, "is_emergency": False}
    draw_track(axes, (10.0, 2.0), (6.0, -1.0), **track)
    draw_track(axes, (20.0, 2.0), (None, None), **track)
    draw_track(axes, (60.0, 2.0), (6.0, 0.0), **track)  # not on the picture
    draw_track(axes, (30.0, 2.0), (float("nan"), float("nan")), track_id=8, is_emergency=True)
    texts = [item.get_text() for item in axes.texts]
    arrows = [item.xy for item in axes.texts if item.arrow_patch is not None]
    pyplot.close(figure)
    assert [text for text in texts if text] == ["#7", "#7", "EMERGENCY #8"]
    assert arrows == [(16.0, 1.0)]


def test_corners_of_a_box():
    corners = box_corners(found(10, 0))
    assert corners.shape == (8, 3)
    np.testing.assert_allclose(corners.mean(axis=0), (10, 0, 0.8), atol=1e-9)
    assert np.ptp(corners[:, 2]) == pytest.approx(1.6)


def test_evidence_of_several_cameras_is_still_camera():
    assert evidence(("camera_front", "camera_rear")) == "camera"
    assert evidence(("camera_front", "lidar")) == "camera + lidar"
    assert evidence(("radar",)) == "other"


def test_the_birdseye_picture(tmp_path, pyplot):
    from edge_perception.demo.pictures.birdseye import birdseye_picture

    path = tmp_path / "birdseye.png"
    birdseye_picture(
        path,
        points_m=np.random.default_rng(0).uniform(-60, 60, (1000, 3)).astype(np.float32),
        objects=[found(10, 0), siren_car(20, 5), found(200, 5)],
        boxes=[car(10, 0)],
        region=Region(T_camera_base=np.linalg.inv(OPTICAL), K=K, image_size=(1920, 1080)),
        title="test",
    )
    drawn = cv2.imread(str(path))
    assert drawn.shape[1] == 1600
    assert int((drawn == np.array(bgr(EMERGENCY), np.uint8)).all(axis=2).sum()) > 50
    assert not pyplot.get_fignums()


def test_the_timeline(tmp_path, entries, pyplot):
    from edge_perception.demo.pictures.timeline import timeline_picture

    path = tmp_path / "timeline.png"
    timeline_picture(path, entries=entries, cuts=[CUT], start_ns=PLAY_NS, title="test")
    assert cv2.imread(str(path)).shape[1] == 1600
    assert not pyplot.get_fignums()


def test_the_rig_picture_names_who_sees_and_what_is_missed(pyplot, tmp_path, monkeypatch):
    from edge_perception.demo.pictures.rig import Panel, found_of, rig_picture

    left = MountedCamera(
        source="camera_left", T_base_camera=pose_of(turned_left()),
        intrinsics=tuple(map(tuple, K.tolist())), image_size=(1920, 1080),
    )  # fmt: skip
    panel = Panel(
        title="camera left pulled",
        points_m=np.zeros((0, 3), np.float32),
        objects=[found(0, 10, sources=("lidar",)), found(12, 0)],
        boxes=[car(0.0, 10.0), car(12.0, 0.0), car(-8.0, 0.0)],
        cameras=[(left, False)],
        level="DEGRADED, feature level",
    )
    assert found_of(panel).labelled == (0, 1, 2)
    assert found_of(panel).found == (0, 1)
    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    rig_picture(tmp_path / "rig.png", panels=[panel, panel, panel], title="test")
    monkeypatch.undo()
    (figure,) = figures
    legend, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert whole.x0 < legend.x0 < legend.x1 < whole.x1
    below = min(axes.get_tightbbox().y0 for axes in figure.axes)
    assert whole.y0 <= legend.y0 < legend.y1 <= below
    pyplot.close(figure)
    drawn = cv2.imread(str(tmp_path / "rig.png"))
    assert drawn.shape[1] == 1600


def turned_left():
    T = OPTICAL.copy()
    T[:3, :3] = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ OPTICAL[:3, :3]
    return T


def test_before_a_sensor_is_pulled_a_message_that_lacks_nothing_is_shown(truth, stamps, entries):
    # A view that lacks a source has more of others: here one that FULL does not need.
    degraded, full = entries[3], entries[5]
    full = replace(full, view=replace(full.view, mode=Mode.FULL, sources=full.view.sources[:-1]))
    degraded = replace(degraded, view=replace(degraded.view, mode=Mode.DEGRADED))
    run = SimpleNamespace(entries=[degraded, full], stamps=stamps, truth=truth)
    assert _fullest(run, 0.0, 1.0) is full
    assert _fullest(SimpleNamespace(entries=[degraded], stamps=stamps), 0.0, 1.0) is degraded


def test_labels_are_of_the_moment_that_objects_are_placed_at(truth, stamps, entries):
    run = SimpleNamespace(entries=entries, stamps=stamps, truth=truth)
    entry, sweep = entries[6], truth.sweeps[6]
    ahead = replace(entry.view.sources[0], stamp_ns=stamps.to_played(truth.images[7].stamp_ns))
    view = replace(
        entry.view,
        stamp_ns=stamps.to_played(sweep.stamp_ns),
        sources=(ahead, *entry.view.sources[1:]),
    )
    assert _frame_of(run, replace(entry, view=view)) == sweep.frame != truth.images[7].frame
