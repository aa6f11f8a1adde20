"""Crops of what is in doubt: nothing else leaves whole, and a server speaks of nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cloud_rig as rig
import numpy as np
import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import Geometry, PointCloud
from edge_perception.encoders import EncoderOutput, encoders
from edge_perception.fleet.cloud.crops import CropCutter
from edge_perception.fleet.cloud.options import CloudOptions
from edge_perception.fleet.cloud.regions import UnplacedError, area_of, solid_box

PATIENT = "deadline_ms=20000"
DOUBTED, SURE = rig.box(score=0.5, ahead_m=20.0), rig.box("bus", 0.99, ahead_m=12.0)
CELL = 32  # the default of what is around crops


@pytest.fixture
def server():
    made = rig.server()
    yield made
    made.close()


def cutter_of(**options):
    given = CloudOptions(tiers=("a http://h:1",), privacy="none", **options)
    return CropCutter(given, rig.SPEC)


def crops_of(cutter=None, image=None, **seen):
    cutter, image = cutter or cutter_of(), image or rig.frame()
    given = rig.feature(**{"objects": [DOUBTED, SURE]} | seen)
    return cutter.find(image, given, rig.GEOMETRY, least_bits=0.7)


def mirrored_inside(image, area):
    x0, y0, x1, y1 = area
    bgr = image.bgr.copy()
    bgr[y0:y1, x0:x1] = bgr[y0:y1, x0:x1][::-1, ::-1]
    return replace(image, bgr=bgr)


def mirrored_outside(image, area):
    """The same image with its pixels mirrored within each cell that an area does not touch."""
    x0, y0, x1, y1 = area
    bgr = image.bgr.copy()
    high, wide = (np.linspace(0, n, n // CELL + 1).astype(int) for n in bgr.shape[:2])
    for top, bottom in itertools.pairwise(high):
        for left, right in itertools.pairwise(wide):
            if right <= x0 or x1 <= left or bottom <= y0 or y1 <= top:
                bgr[top:bottom, left:right] = bgr[top:bottom, left:right][::-1, ::-1]
    assert not np.array_equal(bgr, image.bgr)
    return replace(image, bgr=bgr)


def posted(server, image, **options):
    """Return the bytes of the questions about an image, as they came, and the evidence."""
    bodies, decode = [], server.inputs
    server.inputs = lambda data, headers: (bodies.append(data), decode(data, headers))[1]
    route = rig.Route(f"site {server.url} {PATIENT}", send="crops", **options)
    try:
        assert route.handle(frame=image, objects=[DOUBTED, SURE]) == "answered"
    finally:
        route.close()
        server.inputs = decode
    return b"".join(bodies), route.late[-1]


def test_only_what_is_in_doubt_leaves_sharp(server):
    (area,) = crops_of().areas
    first, late = posted(server, rig.frame())
    assert (late.crops, late.hidden) == (1, 0)
    assert first == posted(server, mirrored_outside(rig.frame(), area))[0]
    assert first != posted(server, mirrored_inside(rig.frame(), area))[0]


def test_what_is_hidden_stays_hidden_in_a_crop(server):
    x0, y0, x1, y1 = area_of(solid_box(DOUBTED, rig.frame(), rig.GEOMETRY), *rig.SIZE)
    width, height = rig.SIZE
    hides = {
        "privacy": "regions",
        "privacy_regions": (x0 / width, y0 / height, x1 / width, y1 / height),
        "privacy_cells": 0,
    }
    first, late = posted(server, rig.frame(), **hides)
    assert (late.crops, late.hidden) == (1, 1)
    assert first == posted(server, mirrored_inside(rig.frame(), (x0, y0, x1, y1)), **hides)[0]


def test_a_crop_holds_what_is_in_doubt_and_some_of_what_is_around_it():
    outline = area_of(solid_box(DOUBTED, rig.frame(), rig.GEOMETRY), *rig.SIZE)
    (box,) = crops_of().boxes
    assert box == outline
    for margin in (0.0, 0.5, 2.0):
        ((x0, y0, x1, y1),) = crops_of(cutter_of(crop_margin=margin)).areas
        wide = (x1 - x0) / (outline[2] - outline[0])
        assert wide == pytest.approx(1 + 2 * margin, abs=0.3)
        assert x0 <= outline[0] < outline[2] <= x1
        assert y0 <= outline[1] < outline[3] <= y1
    # The most doubtful one where the threshold rose meanwhile, and boxes of images too.
    assert len(crops_of(objects=[SURE, rig.box(score=0.9)]).areas) == 1
    flat = replace(rig.flat("car", 100, 100, 139, 119), score=0.6)
    assert crops_of(objects=[], image_objects=(flat,)).boxes == ((100, 100, 140, 120),)


def test_of_the_rest_a_server_saw_too_little_to_say_anything():
    crops = crops_of()
    beside = replace(DOUBTED, center_m=(20.0, 6.0, 0.8))
    behind = replace(DOUBTED, center_m=(-20.0, 0.0, 0.8))
    said = EncoderOutput(
        objects=(DOUBTED, beside, behind),
        image_objects=(rig.flat("car", 0, 0, 9, 9), rig.flat("car", 150, 110, 170, 130)),
    )
    kept = cutter_of().within(said, crops, rig.frame(), rig.GEOMETRY)
    assert kept.objects == (DOUBTED,)
    assert kept.image_objects == said.image_objects[1:]
    nowhere = replace(rig.GEOMETRY, intrinsics=None)
    assert cutter_of().within(said, crops, rig.frame(), nowhere).objects == ()


def test_a_question_is_smaller_and_the_budget_counts_what_went_over_the_link(server):
    whole = rig.Route(f"site {server.url} {PATIENT}")
    crops = rig.Route(f"site {server.url} {PATIENT}", send="crops")
    try:
        for route in (whole, crops):
            assert route.handle(objects=[DOUBTED, SURE]) == "answered"
        plain, small = server.lengths
        assert small < 0.25 * plain
        used = [route.tiers[0].budget.used(0.0) for route in (whole, crops)]
        assert used[0] - used[1] == pytest.approx(plain - small, abs=100)
    finally:
        whole.close()
        crops.close()


def test_a_budget_is_not_passed_by_a_question_that_is_too_large(server):
    route = rig.Route(f"site {server.url} {PATIENT} mb_per_hour=0.5", send="crops")
    try:
        assert route.handle(objects=[DOUBTED]) == "dropped, budget"
        assert server.requests == 0
        assert "over the budget" in route.tiers[0].problem
    finally:
        route.close()


@pytest.mark.parametrize(
    ("geometry", "seen"),
    [
        (replace(rig.GEOMETRY, intrinsics=None), [DOUBTED]),
        (rig.GEOMETRY, [replace(DOUBTED, center_m=(-20.0, 0.0, 0.8))]),
    ],
    ids=["no calibration", "not in the image"],
)
def test_where_nothing_can_be_cut_out_nothing_leaves(server, geometry, seen):
    route = rig.Route(f"site {server.url} {PATIENT}", send="crops")
    try:
        assert route.handle(geometry=geometry, objects=seen) == "dropped, nothing to cut out"
        assert server.requests == 0
    finally:
        route.close()
    with pytest.raises(UnplacedError):
        cutter_of().find(rig.frame(), rig.feature(objects=seen), geometry, least_bits=0.7)


def test_an_earlier_answer_serves_where_its_crops_hold_what_is_in_doubt_now(server):
    route = rig.Route(f"site {server.url} {PATIENT}", send="crops", cache_s=10.0)
    near = rig.box(score=0.5, ahead_m=8.0)
    beside = replace(DOUBTED, center_m=(20.0, 6.0, 0.8))
    try:
        assert route.handle(objects=[DOUBTED, SURE]) == "answered"
        assert route.handle(objects=[replace(DOUBTED, score=0.45)]) == "cached"
        assert route.late[-1].crops == 1
        assert route.handle(objects=[beside]) == "answered"
        assert route.handle(objects=[near]) == "answered"
        assert server.requests == 3
    finally:
        route.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"privacy": "pixelate"}, "nothing sharp"),
        ({"tiers": ("a http://h:1 gzip=false",)}, "got gzip=false of a"),
        ({"tiers": ("a grpc://h:1 gzip=false",)}, "got gzip=false of a"),
    ],
)
def test_crops_that_would_save_nothing_are_refused(options, text):
    given = {"tiers": ("a http://h:1",), "privacy": "none", "send": "crops", **options}
    with pytest.raises(ConfigurationError, match=text):
        CloudOptions(**given)


def test_sounds_have_no_crops():
    options = CloudOptions(tiers=("a http://h:1",), privacy="none", send="crops")
    with pytest.raises(ConfigurationError, match=r"modality audio .* expected 'frame'"):
        CropCutter(options, encoders()["audio"])


def test_of_a_sweep_the_points_around_what_is_in_doubt_leave_and_no_others():
    options = CloudOptions(tiers=("a http://h:1",), privacy="none", send="crops")
    cutter = CropCutter(options, encoders()["lidar"])
    rng = np.random.default_rng(0)
    base_m = rng.uniform([-20, -20, -1], [60, 20, 3], (20_000, 3))
    # The sensor looks backwards, so that its frame is not the base frame.
    pose = np.array([[-1, 0, 0, 1.0], [0, -1, 0, 0.0], [0, 0, 1, 1.9], [0, 0, 0, 1]])
    geometry = Geometry(T_base_sensor=pose, pose_source="parameter")
    sweep = PointCloud(
        stamp_ns=rig.START_NS,
        frame_id="lidar",
        xyz_m=((base_m - pose[:3, 3]) @ pose[:3, :3]).astype(np.float32),
        intensity=np.arange(len(base_m), dtype=np.float32),
    )
    seen = rig.feature(objects=[DOUBTED, SURE])
    crops = cutter.find(sweep, seen, geometry, least_bits=0.7)
    assert np.allclose(crops.boxes, [(18.0, -0.9, 22.0, 0.9)])
    ((x0, y0, x1, y1),) = crops.areas
    assert np.allclose((x0, y0, x1, y1), (14.0, -4.9, 26.0, 4.9))
    cut = cutter.cut(sweep, crops, geometry)
    inside = (base_m[:, 0] > x0) & (base_m[:, 0] < x1) & (abs(base_m[:, 1]) < y1)
    np.testing.assert_array_equal(cut.intensity, np.flatnonzero(inside))
    np.testing.assert_array_equal(cut.xyz_m, sweep.xyz_m[inside])
    said = EncoderOutput(objects=(DOUBTED, SURE, replace(DOUBTED, center_m=(20.0, 6.0, 0.8))))
    assert cutter.within(said, crops, sweep, geometry).objects == (DOUBTED,)
    nothing_there = rig.feature(objects=[replace(DOUBTED, center_m=(90.0, 0.0, 0.8))])
    with pytest.raises(UnplacedError):
        cutter.find(sweep, nothing_there, geometry, least_bits=0.7)
