"""Every cause from what was seen, as pure data."""

from __future__ import annotations

import pytest

from edge_perception.observe.doctor.observation import Diagnosis, Endpoint, Input, Observation
from edge_perception.observe.doctor.rules import causes

NS = 1_000_000_000
IMAGE = "sensor_msgs/msg/Image"
NODES = ("/camera_encoder", "/fusion")


def endpoint(node="/driver", **changes):
    return Endpoint(
        **{"node": node, "type": IMAGE, "reliable": False, "vendor": "Fast DDS", **changes}
    )


def camera(**changes):
    return Input(
        **{
            "source": "camera",
            "node": "/camera_encoder",
            "topic": "/camera/image_raw",
            "subscription": endpoint("/camera_encoder"),
            "publishers": (endpoint(),),
            **changes,
        }
    )


def seen(*inputs, **changes):
    return Observation(**{"domain_id": 0, "nodes": NODES, "inputs": inputs, **changes})


def status(message, level=2, **values):
    return {
        "diagnostics": {"camera_encoder": Diagnosis(level=level, message=message, values=values)}
    }


CASES = {
    "not_running": (seen(nodes=()), "edge-perception run"),
    "domain_mismatch": (seen(nodes=(), other_domains=(7,)), "ROS_DOMAIN_ID=7"),
    "no_publisher": (seen(camera(publishers=())), "start the driver"),
    "wrong_type": (seen(camera(publishers=(endpoint(type="std_msgs/msg/String"),))), IMAGE),
    "incompatible_qos": (
        seen(camera(subscription=endpoint("/camera_encoder", reliable=True))),
        "reliability: reliable",
    ),
    "rmw_mismatch": (
        seen(camera(publishers=(endpoint(vendor="Cyclone DDS"),))),
        "RMW_IMPLEMENTATION",
    ),
    "sim_time_without_clock": (seen(camera(), sim_time={"/fusion": True}), "use_sim_time: false"),
    "zero_stamps": (seen(camera(stamps=((0, 5 * NS), (0, 6 * NS)))), "header.stamp"),
    "other_clock": (seen(camera(stamps=((60 * NS, 5 * NS),))), "time_offset_s: -55.00"),
    "no_calibration": (
        seen(camera(), camera(calibration=True, topic="/camera/camera_info", publishers=())),
        "camera_info_url",
    ),
    "model_missing": (seen(camera(), **status("configure failed: no bundle 'x'")), "model:"),
    "model_unsigned": (seen(camera(), **status("bundle x is unsigned", 1)), "sign"),
    "provider_fell_back": (seen(camera(), **status("provider fell back to CPU", 1)), "provider:"),
    "too_fast": (
        seen(camera(), **status("ok", 0, rate_hz="8.0", input_rate_hz="30.0", dropped="220")),
        "threads: 2",
    ),
    "shared_memory": (seen(camera(), shared_memory_problem="/dev/shm has 64 MB free"), "shm-size"),
    "refused": (seen(camera(), **status("refused: camera: unknown encoding 'x'")), "driver"),
}


@pytest.mark.parametrize("code", CASES)
def test_each_cause_with_the_line_to_change(code):
    observation, fix = CASES[code]
    found = causes(observation)
    assert [cause.code for cause in found] == [code]
    assert fix in found[0].fix
    assert found[0].text


@pytest.mark.parametrize(
    "healthy",
    [
        seen(camera(stamps=((5 * NS, 5 * NS + 10**7),))),
        seen(
            camera(stamps=((5 * NS, 500 * NS),)),
            sim_time={"/camera_encoder": True},
            clock_publishers=1,
        ),
        seen(camera(), **status("ok", 0, rate_hz="9.9", input_rate_hz="10.0", dropped="3")),
        seen(camera(), camera(topic="/camera/image_raw/compressed", publishers=())),
    ],
    ids=["in time", "playback", "a few dropped", "one of two topics"],
)
def test_nothing_is_found_where_nothing_is_wrong(healthy):
    assert causes(healthy) == []
