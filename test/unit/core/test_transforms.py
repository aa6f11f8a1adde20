"""The tree of transforms: what tf2 answers, and what it says when it cannot."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from edge_perception.core.errors import TransformError
from edge_perception.core.transforms import (
    NS,
    Transform,
    TransformTree,
    matrix,
    orientation_of,
    other_order,
)

LEFT = (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5))  # a quarter turn about z
STRAIGHT = (0.0, 0.0, 0.0, 1.0)


def step(parent, child, position=(0.0, 0.0, 0.0), turn=STRAIGHT, stamp_ns=0):
    return Transform(
        parent=parent, child=child, stamp_ns=stamp_ns, position_m=position, orientation=turn
    )


def tree(*links, static=True):
    made = TransformTree()
    for link in links:
        made.add(link, static=static)
    return made


def place(found):
    return found.T[:3, 3].round(6).tolist()


def test_a_chain_of_static_transforms_holds_at_every_stamp():
    made = tree(step("base_link", "mast", (1.0, 0, 2.0), LEFT), step("mast", "lidar", (0.5, 0, 0)))
    for stamp_ns in (0, 10**18):
        found = made.lookup("base_link", "lidar", stamp_ns)
        assert place(found) == [1.0, 0.5, 2.0]
        assert not found.moving


def test_frames_beside_each_other_are_found_over_their_common_one():
    made = tree(
        step("base_link", "camera", (2.0, 0, 1.0), LEFT), step("base_link", "lidar", (0, 0, 3.0))
    )
    assert place(made.lookup("camera", "lidar", 0)) == [0.0, 2.0, 2.0]
    assert place(made.lookup("lidar", "camera", 0)) == [2.0, 0.0, -2.0]


def test_upwards_is_the_inverse_of_downwards():
    made = tree(step("base_link", "a", (1, 2, 3), LEFT), step("a", "b", (4, 5, 6), LEFT))
    there, back = made.lookup("base_link", "b", 0), made.lookup("b", "base_link", 0)
    np.testing.assert_allclose(there.T @ back.T, np.eye(4), atol=1e-12)


def test_a_frame_is_where_it_is_in_itself_even_when_nothing_was_heard():
    assert place(TransformTree().lookup("/base_link", "base_link", 5)) == [0, 0, 0]


@pytest.mark.parametrize("name", ["/camera", "//camera", "camera"])
def test_leading_slashes_do_not_count(name):
    made = tree(step("/base_link", "/camera", (1.0, 0, 0)))
    assert place(made.lookup("base_link", name, 0)) == [1, 0, 0]
    assert made.frames == ("base_link", "camera")


# -- moving transforms --


def test_a_moving_transform_is_interpolated():
    made = TransformTree()
    made.add(step("base_link", "pan", (0, 0, 1), STRAIGHT, 1 * NS), static=False)
    made.add(step("base_link", "pan", (0, 0, 3), LEFT, 2 * NS), static=False)
    found = made.lookup("base_link", "pan", NS + NS // 2)
    assert place(found) == [0, 0, 2]
    assert found.moving
    assert found.gap_s == 0.0
    yaw = Rotation.from_matrix(found.T[:3, :3]).as_euler("zyx", degrees=True)[0]
    assert yaw == pytest.approx(45.0)


@pytest.mark.parametrize(("stamp_s", "gap_s", "z"), [(0.5, 0.5, 1.0), (2.25, 0.25, 3.0)])
def test_outside_of_what_is_known_the_nearest_sample_holds_and_says_how_far_it_is(
    stamp_s, gap_s, z
):
    made = TransformTree()
    made.add(step("b", "c", (0, 0, 1), stamp_ns=1 * NS), static=False)
    made.add(step("b", "c", (0, 0, 3), stamp_ns=2 * NS), static=False)
    found = made.lookup("b", "c", round(stamp_s * NS))
    assert found.gap_s == pytest.approx(gap_s)
    assert place(found)[2] == z
    with pytest.raises(TransformError, match=r"'b' to 'c' is 0\.\d\d s away.*more than 0\.1 s"):
        made.lookup("b", "c", round(stamp_s * NS), max_gap_s=0.1)


def test_samples_out_of_order_are_sorted_in():
    made = TransformTree()
    for stamp_s, x in ((3, 3.0), (1, 1.0), (2, 2.0), (2, 9.0)):
        made.add(step("b", "c", (x, 0, 0), stamp_ns=stamp_s * NS), static=False)
    assert place(made.lookup("b", "c", 2 * NS + NS // 2))[0] == 2.5


def test_a_recording_that_begins_again_starts_anew():
    made = TransformTree()
    for stamp_s in (1000, 1001):
        made.add(step("b", "c", (9, 0, 0), stamp_ns=stamp_s * NS), static=False)
    made.add(step("b", "c", (1, 0, 0), stamp_ns=900 * NS), static=False)
    found = made.lookup("b", "c", 900 * NS)
    assert (place(found)[0], found.gap_s) == (1.0, 0.0)


def test_the_history_of_a_moving_transform_is_bounded():
    made = TransformTree()
    for index in range(5000):
        made.add(step("b", "c", stamp_ns=index * NS // 1000), static=False)
    for index in range(50):
        made.add(step("b", "slow", stamp_ns=index * NS), static=False)
    kept = {child: len(link.stamps) for child, link in made._links.items()}
    assert kept["c"] == 2048
    assert kept["slow"] == 11


def test_the_number_of_frames_is_bounded():
    made = TransformTree()
    for index in range(4096):
        made.add(step("b", f"c{index}"), static=True)
    with pytest.raises(TransformError, match="at most 4096 frames"):
        made.add(step("b", "one_more"), static=True)
    made.add(step("b", "c7", (1, 0, 0)), static=True)  # those known go on


# -- what has no answer --


def test_frames_of_two_trees_are_named_with_their_roots():
    made = tree(step("base_link", "lidar"), step("odom", "mast"), step("mast", "camera"))
    with pytest.raises(TransformError, match="'camera' hangs below 'odom', 'base_link' below 'ba"):
        made.lookup("base_link", "camera", 0)


def test_a_circle_is_named():
    made = tree(step("a", "b"), step("b", "c"), step("c", "a"))
    with pytest.raises(TransformError, match=r"circle: .*below"):
        made.lookup("a", "b", 0)


def test_an_unknown_frame_is_answered_with_the_nearest_known_one():
    made = tree(step("base_link", "camera_front_optical_frame"))
    with pytest.raises(TransformError, match="did you mean 'camera_front_optical_frame'"):
        made.lookup("base_link", "camera_front_optical", 0)
    with pytest.raises(TransformError, match="no frame_id"):
        made.lookup("base_link", "", 0)
    with pytest.raises(TransformError, match="no transform has been heard"):
        TransformTree().lookup("base_link", "camera", 0)


def test_a_child_with_another_parent_moves_there_and_it_is_known():
    made = tree(step("base_link", "camera", (1, 0, 0)), step("base_link", "mast", (5, 0, 0)))
    made.add(step("mast", "camera", (1, 0, 0)), static=True)
    assert place(made.lookup("base_link", "camera", 0)) == [6, 0, 0]
    assert made.parents_changed == {"camera": ("base_link", "mast")}


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (step("", "c"), "a parent and a child"),
        (step("/", "c"), "a parent and a child"),
        (step("a", "/a"), "its own parent"),
        (step("a", "b", (math.nan, 0, 0)), "finite position"),
        (step("a", "b", (math.inf, 0, 0)), "finite position"),
        (step("a", "b", turn=(0, 0, 0, 0)), "unit quaternion"),
        (step("a", "b", turn=(0, 0, math.nan, 1)), "unit quaternion"),
    ],
)
def test_broken_transforms_are_refused_and_change_nothing(broken, text):
    made = tree(step("a", "b", (1, 0, 0)))
    version = made.version
    with pytest.raises(TransformError, match=text):
        made.add(broken, static=True)
    assert made.version == version
    assert place(made.lookup("a", "b", 0)) == [1, 0, 0]


def test_only_news_change_the_version():
    made = tree(step("a", "b", (1, 0, 0)))
    version = made.version
    made.add(step("a", "b", (1, 0, 0), stamp_ns=77), static=True)  # a latched topic says it again
    assert made.version == version
    made.add(step("a", "b", (2, 0, 0)), static=True)
    assert made.version > version


turns = st.tuples(*[st.floats(-1, 1) for _ in range(4)]).filter(
    lambda q: sum(v * v for v in q) > 0.1
)
places = st.tuples(*[st.floats(-100, 100) for _ in range(3)])


@given(st.lists(st.tuples(places, turns), min_size=1, max_size=6))
def test_any_chain_is_the_product_of_its_links(links):
    made, expected = TransformTree(), np.eye(4)
    for index, (position, turn) in enumerate(links):
        unit = np.array(turn) / np.linalg.norm(turn)
        made.add(step(f"f{index}", f"f{index + 1}", position, tuple(unit)), static=True)
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = Rotation.from_quat(unit).as_matrix(), position
        expected = expected @ T
    found = made.lookup("f0", f"f{len(links)}", 0)
    np.testing.assert_allclose(found.T, expected, atol=1e-6)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: math.hypot(*q) > 0.1))
def test_the_orientation_of_a_transform_is_that_of_its_quaternion(values):
    q = np.array(values) / np.linalg.norm(values)
    T = matrix((1.0, 2.0, 3.0), tuple(q))
    found = np.array(orientation_of(T))
    np.testing.assert_allclose(abs(found @ q), 1.0, atol=1e-9)
    told = matrix((1.0, 2.0, 3.0), (q[3], q[0], q[1], q[2]))  # given as w, x, y, z
    np.testing.assert_allclose(other_order(told), T, atol=1e-7)
