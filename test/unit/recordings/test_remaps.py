"""Topics of a recording by the names of the vehicle: what belongs to images moves with them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.replay.remaps import named_topics, parse_remaps
from edge_perception.running.vehicle_plan import read_plan

RAW, PACKED, INFO = "/camera/image_raw", "/camera/image_raw/compressed", "/camera/camera_info"


def named(topics, *rules, namespace=None):
    bag = SimpleNamespace(counts=dict.fromkeys(topics, 1), path=Path("a.mcap"))
    plan = read_plan([], subset=("camera", "lidar"), namespace=namespace)
    return named_topics(bag, plan, parse_remaps(rules))


@pytest.mark.parametrize(
    ("topics", "rule", "expected"),
    [
        (
            ("/front/image", "/front/image/compressed", "/front/camera_info"),
            f"/front/image:={RAW}",
            (RAW, PACKED, INFO),
        ),
        (("/front/image/compressed", "/front/camera_info"), f"/front/image:={RAW}", (PACKED, INFO)),
        (
            ("/front/image/compressed", "/front/camera_info"),
            f"/front/image/compressed:={PACKED}",
            (PACKED, INFO),
        ),
        (("/front/jpeg", "/front/camera_info"), f"/front/jpeg:={PACKED}", (PACKED, INFO)),
        (
            ("/cam_front/compressed", "/cam_front/camera_info"),
            f"/cam_front/compressed:={PACKED}",
            (PACKED, INFO),
        ),
        (("front/points",), "/front/points:=/lidar/points", ("/lidar/points",)),
    ],
)
def test_what_belongs_to_images_moves_with_them(topics, rule, expected):
    assert named(topics, rule) == dict(zip(expected, topics, strict=True))


def test_a_rule_of_its_own_comes_first():
    topics = ("/front/image", "/front/camera_info", "/calibration")
    found = named(topics, f"/front/image:={RAW}", f"/calibration:={INFO}")
    assert (found[RAW], found[INFO]) == ("/front/image", "/calibration")


@pytest.mark.parametrize("other", ["/a", "/z"])
def test_what_is_moved_takes_the_place_of_what_has_the_name(other):
    topics = (RAW, INFO, f"{other}/image", f"{other}/camera_info")
    found = named(topics, f"{other}/image:={RAW}")
    assert (found[RAW], found[INFO]) == topics[2:]


def test_two_cameras_change_places():
    rules = ("/a/image:=/b/image", "/b/image:=/a/image")
    assert named(("/a/image", "/b/image"), *rules) == {
        "/b/image": "/a/image", "/a/image": "/b/image"
    }  # fmt: skip


@pytest.mark.parametrize("target", [RAW, f"/robot7{RAW}"])
def test_within_a_namespace_too(target):
    topics = ("/front/image", "/front/camera_info")
    found = named(topics, f"/front/image:={target}", namespace="/robot7")
    assert (found[RAW], found[INFO]) == topics


def test_a_rule_for_what_is_not_there_lists_what_is():
    with pytest.raises(ConfigurationError, match=r"has no topic '/front'.*it has /front_image"):
        named(("/front_image",), f"/front:={RAW}")
