"""What is hidden never leaves: whatever its pixels are, the bytes on the wire are the same."""

from __future__ import annotations

from dataclasses import replace

import cloud_rig as rig
import numpy as np
import pytest

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.core.types import PointCloud
from edge_perception.fleet.cloud.options import CloudOptions
from edge_perception.fleet.cloud.privacy import GREY, PrivacyFilter, hidden_class
from edge_perception.fleet.cloud.regions import UnplacedError

STATIC = {"privacy": "regions", "privacy_regions": (0.25, 0.25, 0.75, 0.75)}
AREA = (slice(60, 180), slice(80, 240))  # of STATIC, rows and columns


def filter_of(has_images=True, **options):
    return PrivacyFilter(CloudOptions(tiers=("a http://h:1",), **options), has_images=has_images)


def changed(area, seed=1):
    """A frame that differs from the usual one in an area only."""
    other, pixels = rig.frame(), rig.frame(seed=seed).bgr
    bgr = other.bgr.copy()
    bgr[area] = pixels[area]
    assert not np.array_equal(bgr, other.bgr)
    return replace(other, bgr=bgr)


def shuffled(area):
    """A frame whose cells of an area hold the same pixels in another order."""
    bgr = rig.frame().bgr.copy()
    rows, columns = (np.arange(*s.indices(240 if i == 0 else 320)) for i, s in enumerate(area))
    size = int(np.ceil(max(len(rows), len(columns)) / 4))
    counts = [max(len(side) // size, 1) for side in (rows, columns)]
    for r in np.array_split(rows, counts[0]):
        for c in np.array_split(columns, counts[1]):
            bgr[r[0] : r[-1] + 1, c[0] : c[-1] + 1] = bgr[r[0] : r[-1] + 1, c[0] : c[-1] + 1][
                ::-1, ::-1
            ]
    return replace(rig.frame(), bgr=bgr)


def on_the_wire(frames, **options):
    """Return all bytes that a server got for each frame, by the real encoder and client."""
    server = rig.server()
    bodies = []
    decode = server.inputs
    server.inputs = lambda data, headers: (bodies.append(data), decode(data, headers))[1]
    sent = []
    for image in frames:
        route = rig.Route(f"site {server.url} deadline_ms=20000", **options)
        asked = rig.Doubtful(
            frame=image, feature=rig.feature(), geometry=rig.GEOMETRY, bundle=rig.bundle(), bits=1.0
        )
        bodies.clear()
        assert route.route.handle(asked) == "answered"
        sent.append(b"".join(bodies))
        assert route.late[-1].hidden == (options["privacy"] != "none")
        route.close()
    server.close()
    return sent


@pytest.mark.parametrize("cells", [0, 4])
def test_raw_pixels_of_a_hidden_region_never_reach_the_wire(cells):
    # Other pixels, in the same cells the same means: not one byte differs.
    twin = changed(AREA) if cells == 0 else shuffled(AREA)
    assert not np.array_equal(twin.bgr, rig.frame().bgr)
    first, second = on_the_wire([rig.frame(), twin], **STATIC, privacy_cells=cells)
    assert len(first) > 1_000_000
    assert first == second
    shown, other = on_the_wire([rig.frame(), twin], privacy="none")
    assert shown != other  # the test sees what is not hidden


def test_the_rest_of_the_image_is_as_it_was():
    image = rig.frame()
    hidden, count = filter_of(**STATIC, privacy_cells=0).apply(image, rig.feature(), rig.GEOMETRY)
    assert count == 1
    assert (hidden.bgr[AREA] == GREY).all()
    outside = np.ones(image.bgr.shape[:2], bool)
    outside[AREA] = False
    np.testing.assert_array_equal(hidden.bgr[outside], image.bgr[outside])
    np.testing.assert_array_equal(image.bgr, rig.frame().bgr)  # not the frame itself


def test_cells_are_never_so_small_that_pixels_stay():
    area = (0.0, 0.0, 12 / 320, 12 / 240)
    small = {"privacy": "regions", "privacy_regions": area, "privacy_cells": 64}
    hidden, _ = filter_of(**small).apply(rig.frame(), rig.feature(), rig.GEOMETRY)
    assert len(np.unique(hidden.bgr[:12, :12].reshape(-1, 3), axis=0)) == 1


def test_the_whole_image_in_cells():
    image = rig.frame()
    pixelate = filter_of(privacy="pixelate", privacy_cell_px=40)
    hidden, _ = pixelate.apply(image, rig.feature(), rig.GEOMETRY)
    for row in range(0, 240, 40):
        for column in range(0, 320, 40):
            cell = hidden.bgr[row : row + 40, column : column + 40].reshape(-1, 3)
            means = image.bgr[row : row + 40, column : column + 40].reshape(-1, 3).mean(axis=0)
            assert len(np.unique(cell, axis=0)) == 1
            np.testing.assert_allclose(cell[0], means, atol=1.0)


def hides(objects=(), image_objects=(), geometry=rig.GEOMETRY, **options):
    """Return which pixels a class's boxes hide, (H, W)."""
    given = {"privacy": "regions", "privacy_classes": ("car",), "privacy_cells": 0}
    seen = rig.feature(objects=objects, image_objects=tuple(image_objects))
    image = replace(rig.frame(), bgr=np.zeros((240, 320, 3), np.uint8))
    hidden, _ = filter_of(**given | options).apply(image, seen, geometry)
    return (hidden.bgr == GREY).all(axis=-1)


def test_boxes_in_the_image_are_hidden_with_a_margin():
    seen = [rig.flat("car", 100, 100, 139, 119), rig.flat("bus", 0, 0, 20, 20)]
    mask = hides(image_objects=seen, privacy_margin=0.1)
    assert mask[98:122, 96:144].all()
    assert mask.sum() == 24 * 48


@pytest.mark.parametrize(
    ("part", "rows"), [("car:top:0.25", (98, 112)), ("car:bottom:0.25", (128, 142))]
)
def test_only_a_part_of_a_box_is_hidden(part, rows):
    mask = hides(
        image_objects=[rig.flat("car", 100, 100, 139, 139)],
        privacy_classes=(part,),
        privacy_margin=0.0,
    )
    assert np.flatnonzero(mask.any(axis=1))[[0, -1]].tolist() == [rows[0], rows[1] - 1]


def test_boxes_in_space_are_hidden_where_they_are_seen():
    mask = hides(objects=[rig.box(ahead_m=10.0)], privacy_margin=0.0)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    # The rear, 6.5 m before the camera: 1.8 m wide, 1.6 m high, from the road up.
    half = 300.0 * 0.9 / 6.5
    assert columns[0] == pytest.approx(160 - half, abs=3.0)
    assert columns[-1] == pytest.approx(160 + half, abs=3.0)
    assert rows[0] == pytest.approx(120, abs=3.0)
    assert rows[-1] == pytest.approx(120 + 300.0 * 1.6 / 6.5, abs=3.0)
    assert not hides(objects=[rig.box(ahead_m=-20.0)]).any()  # behind the camera


def test_what_is_partly_beside_the_camera_is_hidden_to_the_edge():
    beside = replace(rig.box(ahead_m=2.0), center_m=(2.0, 2.0, 0.8))  # to the left
    mask = hides(objects=[beside])
    columns = np.flatnonzero(mask.any(axis=0))
    assert columns[0] == 0
    assert mask[:, 0].all()
    assert not mask[:, -1].any()


def test_a_bent_lens_and_an_image_of_another_size():
    bent = replace(
        rig.GEOMETRY,
        distortion_model="plumb_bob",
        distortion=np.array([-0.2, 0.05, 0.0, 0.0, 0.0]),
    )
    straight = hides(image_objects=[rig.flat("car", 10, 10, 49, 49)], privacy_margin=0.0)
    curved = hides(
        image_objects=[rig.flat("car", 10, 10, 49, 49)], geometry=bent, privacy_margin=0.0
    )
    assert np.flatnonzero(straight.any(axis=1))[0] == 8
    assert np.flatnonzero(curved.any(axis=1))[0] > 10  # towards the middle
    double = replace(
        rig.GEOMETRY,
        image_size=(640, 480),
        intrinsics=np.array([[600.0, 0, 320.5], [0, 600.0, 240.5], [0, 0, 1]]),
    )
    mask = hides(
        image_objects=[rig.flat("car", 200, 200, 279, 239)], geometry=double, privacy_margin=0.0
    )
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert columns[[0, -1]] == pytest.approx([98, 142], abs=2.0)
    assert rows[[0, -1]] == pytest.approx([98, 122], abs=2.0)


@pytest.mark.parametrize(
    "geometry",
    [
        replace(rig.GEOMETRY, intrinsics=None),
        replace(rig.GEOMETRY, pose_source="", T_base_sensor=np.eye(4)),
    ],
    ids=["no calibration", "no pose"],
)
def test_where_it_lies_is_not_known_so_it_does_not_leave(geometry):
    with pytest.raises(UnplacedError, match="where it lies in the image is not known"):
        hides(objects=[rig.box()], geometry=geometry)
    server = rig.server()
    route = rig.Route(f"a {server.url}", privacy="regions", privacy_classes=("car",))
    assert route.handle(geometry=geometry) == "dropped, privacy"
    assert server.requests == 0
    route.close()
    server.close()


@pytest.mark.parametrize(
    "text", ["", ":top:0.3", "car:left:0.3", "car:top", "car:top:2", "a:b:c:d"]
)
def test_a_class_that_is_none(text):
    with pytest.raises(ConfigurationError, match="CLASS:top:SHARE"):
        hidden_class(text)


def test_what_can_never_be_hidden_is_refused():
    with pytest.raises(UnknownNameError, match="face"):
        filter_of(privacy="regions", privacy_classes=("face",)).check(rig.bundle().manifest)
    named = replace(rig.bundle().manifest, postprocessing={"classes": {"person": "pedestrian"}})
    filter_of(privacy="regions", privacy_classes=("pedestrian",)).check(named)
    with pytest.raises(UnknownNameError, match="car"):
        filter_of(privacy="regions", privacy_classes=("car",)).check(named)
    with pytest.raises(ConfigurationError, match="no images"):
        filter_of(has_images=False, privacy="pixelate")
    with pytest.raises(ConfigurationError, match="shares of the image"):
        filter_of(privacy="regions", privacy_regions=(0.0, 0.0, 2.0, 1.0))
    cloud = PointCloud(stamp_ns=1, frame_id="", xyz_m=np.zeros((1, 3), np.float32))
    with pytest.raises(UnplacedError):
        filter_of(privacy="pixelate").apply(cloud, rig.feature(), rig.GEOMETRY)
