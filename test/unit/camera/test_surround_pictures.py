"""Training pictures of a surround rig: they look all around and show what stands there."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="no SciPy: the scenes of training are made with it")

from training import pictures
from training.pictures import VIEWS, cached_surround, surround_pinhole

SEED = 10_003


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache") / "camera"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "CACHE", folder)
        yield cached_surround(SEED)


def test_cameras_look_all_around():
    yaws = []
    for view in range(VIEWS):
        forward = surround_pinhole(view, np.random.default_rng([1, view])).T_base_camera[:3, 2]
        yaws.append(np.degrees(np.arctan2(forward[1], forward[0])) % 360)
    gaps = np.diff([*sorted(yaws), min(yaws) + 360])
    assert max(gaps) < 90  # nowhere is a view of 70 degrees far from the next


def test_a_scene_is_the_same_in_all_its_views(views):
    assert len(views) == VIEWS
    for view in views[1:]:
        np.testing.assert_array_equal(view.boxes, views[0].boxes)
        assert not np.array_equal(view.bgr, views[0].bgr)


def test_what_a_view_shows_lies_where_it_looks(views):
    shown = np.zeros(len(views[0].boxes), int)
    for view in views:
        gap = view.boxes[:, :2] - view.geometry.T_base_sensor[:2, 3]
        forward = view.geometry.T_base_sensor[:2, 2]
        assert (gap[view.visible] @ forward > 0).all()
        shown += view.visible
    assert (shown > 0).sum() > views[0].visible.sum()  # more than the front one shows


def test_pictures_are_rendered_once(views, monkeypatch):
    monkeypatch.setattr(pictures, "simulate_surround", pytest.fail)
    again = cached_surround(SEED, [2])
    np.testing.assert_array_equal(again[0].bgr, views[2].bgr)


def test_older_pictures_show_where_everything_was(views):
    older = pictures.older_surround(SEED)
    assert older[0].boxes.shape == views[0].boxes.shape
    moved = np.linalg.norm(older[0].boxes[:, :2] - views[0].boxes[:, :2], axis=1)
    assert 0 < moved.max() < 5
