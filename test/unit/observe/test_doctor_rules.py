"""Every cause from what was seen, as pure data."""

from __future__ import annotations

import pytest

from edge_perception.observe.doctor.machine import shared_memory_problem
from edge_perception.observe.doctor.observation import (
    Diagnosis,
    Endpoint,
    Input,
    Observation,
    SourceSeen,
    View,
)
from edge_perception.observe.doctor.rules import causes

NS = 1_000_000_000
IMAGE = "sensor_msgs/msg/Image"
NODES = ("/camera_encoder", "/fusion")
TOPIC = "/camera/image_raw"
SKY = "camera: T_base_sensor: the camera looks into the sky, its optical axis is 90 degrees up"


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
            "stamps": ((5 * NS, 5 * NS + 10**7),),
            **changes,
        }
    )


def view(**changes):
    sources = (SourceSeen(name="camera", state="OK"),)
    return View(**{"valid": True, "sources": sources, **changes})


def seen(*inputs, **changes):
    usual = {
        "domain_id": 0,
        "nodes": NODES,
        "namespaces": ("",),
        "states": dict.fromkeys(NODES, "active"),
        "inputs": inputs,
        "views": (view(),) * 10,
        "watched_s": 3.0,
    }
    said = {name.lstrip("/"): Diagnosis(level=0, message="OK") for name in NODES}
    told = changes.pop("diagnostics", {})
    return Observation(**{**usual, "diagnostics": {**said, **told}, **changes})


def clock(rate=1.0, start_ns=40 * NS, back_ns=0):
    """What is heard on /clock in 3 s at 10 Hz; `back_ns`: every other one of another clock."""
    return tuple(
        (start_ns + round(rate * i * NS / 10) - i % 2 * back_ns, i * NS // 10) for i in range(31)
    )


def simulated(*inputs, **changes):
    """Nodes that follow /clock of a simulation."""
    usual = {
        "parameters": {node: {"use_sim_time": True} for node in NODES},
        "clock_publishers": ("/gazebo",),
        "clock": clock(),
    }
    return seen(*inputs, **{**usual, **changes})


def late(count=10):
    return (view(sources=(SourceSeen(name="camera", state="LATE", reason="silence"),)),) * count


def status(message, level=2, **values):
    return {
        "diagnostics": {"camera_encoder": Diagnosis(level=level, message=message, values=values)}
    }


CASES = {
    "not_running": (seen(nodes=(), namespaces=(), states={}), "edge-perception run"),
    "domain_mismatch": (
        seen(nodes=(), namespaces=(), states={}, other_domains=(7,)),
        "ROS_DOMAIN_ID=7",
    ),
    "node_name": (
        seen(
            nodes=("/front_lidar",),
            namespaces=(),
            states={},
            misnamed=("/front_lidar",),
            outputs={"/features/lidar": ("/front_lidar",)},
        ),
        "SOURCE_encoder",
    ),
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
    "sim_time_without_clock": (
        seen(camera(), parameters={"/fusion": {"use_sim_time": True}}),
        "use_sim_time: false",
    ),
    "mixed_clocks": (
        seen(
            camera(),
            parameters={"/fusion": {"use_sim_time": True}, "/camera_encoder": {}},
            clock_publishers=("/gazebo",),
            clock=clock(),
        ),
        "use_sim_time: true",
    ),
    "clock_stands_still": (
        simulated(camera(stamps=()), clock=((40 * NS, 0), (40 * NS, NS))),
        "let /gazebo run",
    ),
    "two_clocks": (
        simulated(
            camera(stamps=((41 * NS, 5 * NS),), clock_ns=(41 * NS,)),
            clock_publishers=("/gazebo", "/rosbag2_player"),
            clock=clock(back_ns=30 * NS),
        ),
        "end one of them",
    ),
    "clock_went_back": (
        simulated(
            camera(stamps=((41 * NS, 5 * NS),), clock_ns=(41 * NS,)),
            clock=(*clock(), *clock()),
            views=late(),
            **status("silence", 1),
        ),
        "--restamp --loop",
    ),
    "slow_clock": (
        simulated(
            camera(stamps=((41 * NS, 5 * NS),), clock_ns=(41 * NS,)),
            clock=clock(rate=0.45),
            views=late(),
            **status("no message on /camera/image_raw (1 publishers) for 0.5 s > 0.5 s"),
        ),
        "rate_hz",
    ),
    "coarse_clock": (
        simulated(
            camera(stamps=((41 * NS, 5 * NS),), clock_ns=(41 * NS,)),
            clock=clock()[::10],
            views=late(),
        ),
        "--clock 100",
    ),
    "fast_clock": (
        simulated(
            camera(stamps=((41 * NS, 5 * NS),), clock_ns=(41 * NS,)),
            clock=clock(rate=10.0),
            views=late(),
            **status("ok", 0, rate_hz="8.0", input_rate_hz="90.0", dropped="220"),
        ),
        "--rate 1",
    ),
    "node_clock": (
        seen(camera(), diagnostics={"fusion": Diagnosis(level=0, message="", clock_s=-3.0)}),
        "chronyc",
    ),
    "namespace": (seen(namespaces=("/a",), namespace="/b", states={}), "--namespace /a"),
    "two_launches": (seen(camera(), nodes=(*NODES, "/fusion")), "ROS_DOMAIN_ID"),
    "second_publisher": (
        seen(camera(), outputs={"/features/camera": ("/camera_encoder", "/stranger")}),
        "end /stranger",
    ),
    "not_active": (
        seen(camera(), states={"/camera_encoder": "inactive", "/fusion": "active"}),
        "ros2 lifecycle set /camera_encoder activate",
    ),
    "node_silent": (
        seen(camera(), states={**dict.fromkeys(NODES, "active"), "/model_manager": ""}),
        "start the process of /model_manager",
    ),
    "silent_driver": (seen(camera(stamps=())), "ros2 topic hz /camera/image_raw"),
    "frames_lost": (
        seen(
            camera(),
            diagnostics={
                "camera_encoder": Diagnosis(
                    level=1,
                    message="",
                    values={f"received {TOPIC}": "40", f"lost {TOPIC}": "25"},
                    before={f"received {TOPIC}": "20", f"lost {TOPIC}": "5"},
                )
            },
        ),
        "edge-perception transport",
    ),
    "feature_space": (
        seen(
            camera(),
            parameters={"/fusion": {"model": "bev_lite/fusion"}},
            views=(view(level="DECISION", level_reason="camera: feature space 'x' is not one"),),
        ),
        "model: bev_lite/camera",
    ),
    "decision_level": (
        seen(camera(), views=(view(level="DECISION", level_reason="fusion model m 1 failed: x"),)),
        "models verify",
    ),
    "source_not_ok": (
        seen(
            camera(),
            views=(view(sources=(SourceSeen(name="lidar", state="MISSING", reason="never"),)),) * 5,
        ),
        "/lidar_encoder is not there",
    ),
    "node_error": (seen(camera(), **status("the thread has ended")), "value and limit"),
    "configure_failed": (seen(camera(), **status("configure failed: no file x")), "configure"),
    "no_output": (seen(camera(), views=()), "debug"),
    "not_valid": (seen(camera(), views=(view(valid=False, reason="x"),) * 3), "degradation_policy"),
    "zero_stamps": (seen(camera(stamps=((0, 5 * NS), (0, 6 * NS)))), "header.stamp"),
    "stamp_unit": (
        seen(
            camera(stamps=tuple((i // 10 * NS + i % 10 * 10**5, i * NS // 10) for i in range(25)))
        ),
        "header.stamp",
    ),
    "other_clock": (seen(camera(stamps=((9 * NS, 5 * NS),))), "camera.time_offset_s: -4.00"),
    "no_calibration": (
        seen(camera(), camera(calibration=True, topic="/camera/camera_info", publishers=())),
        "camera_info_url",
    ),
    "model_missing": (seen(camera(), **status("configure failed: no model 'x'")), "model:"),
    "model_unsigned": (seen(camera(), **status("bundle x is unsigned", 1)), "sign"),
    "provider_fell_back": (
        seen(
            camera(),
            **status("x", 1, not_as_asked="CUDA could not be started", runtime="ONNX Runtime 1"),
        ),
        "provider: CPUExecutionProvider",
    ),
    "too_fast": (
        seen(camera(), **status("ok", 0, rate_hz="8.0", input_rate_hz="30.0", dropped="220")),
        "threads: 2",
    ),
    "bursts": (
        seen(
            camera(),
            **status("x", 1, rate_hz="2.0", input_rate_hz="9.5", dropped="43", arrival="in bursts"),
        ),
        "not several at once",
    ),
    "load_control": (
        seen(
            camera(),
            **status(
                "load control: 1 of 2 frames skipped",
                1,
                rate_hz="8.0",
                input_rate_hz="30.0",
                dropped="220",
                load_step="1 of 1: 1 of 2 frames skipped",
            ),
        ),
        "a larger load.budget_ms",
    ),
    "shared_memory": (seen(camera(), shared_memory_problem="/dev/shm has 64 MB free"), "shm-size"),
    "odd_pose": (
        seen(
            camera(),
            views=(view(sources=(SourceSeen(name="camera", state="OK", warning=SKY),)),) * 4,
        ),
        "T_base_sensor: [x, y, z, qx, qy, qz, qw]   (parameter of /camera_encoder",
    ),
    "refused": (
        seen(
            camera(),
            **status(
                "refused: camera: unknown encoding 'x'",
                rate_hz="0.0",
                input_rate_hz="30.0",
                dropped="9",
            ),
        ),
        "driver",
    ),
}


@pytest.mark.parametrize("code", CASES)
def test_each_cause_with_the_line_to_change(code):
    observation, fix = CASES[code]
    found = causes(observation)
    assert [cause.code for cause in found] == [code]
    assert fix in found[0].fix
    assert found[0].text


@pytest.mark.parametrize(
    ("runtime", "note", "fix"),
    [
        ("openvino 2026.4", "NPU is not here; CPU runs it", "provider: CPU "),
        (
            "tensorrt 11.4",
            "cuda:1 is not here; TensorRT finds cuda:0 to cuda:0",
            "provider: cuda:0",
        ),
        ("tensorrt 11.4", "compile_cache /var/x: Permission denied", "compile_cache: ''"),
        ("tensorrt 11.4", "preprocessing runs on the CPU: no libnvrtc", "preprocess: cpu"),
        ("tensorrt 11.4", "a CUDA graph was asked for, none is used", "tensorrt.cuda_graph"),
    ],
)
def test_what_is_not_as_asked_has_the_line_of_its_runtime(runtime, note, fix):
    (found,) = causes(seen(camera(), **status("x", 1, not_as_asked=note, runtime=runtime)))
    assert found.code == "provider_fell_back"
    assert fix in found.fix


@pytest.mark.parametrize(
    "healthy",
    [
        seen(camera(stamps=((5 * NS, 5 * NS + 10**7),))),
        seen(
            camera(stamps=((5 * NS, 500 * NS),)),
            parameters={node: {"use_sim_time": True} for node in NODES},
            clock_publishers=("/gazebo",),
            clock=clock(),
        ),
        simulated(camera(stamps=((5 * NS, 500 * NS),), clock_ns=(5 * NS + 10**7,))),
        simulated(camera(), clock=clock(rate=0.2)),
        simulated(camera(), clock=(*clock(), *clock()), views=(*late(1), *[view()] * 19)),
        simulated(camera(), clock_publishers=("/gazebo", "/bridge")),
        seen(camera(), **status("ok", 0, rate_hz="9.9", input_rate_hz="10.0", dropped="3")),
        seen(camera(), camera(topic="/camera/image_raw/compressed", publishers=())),
        seen(
            camera(),
            views=(
                view(sources=(SourceSeen(name="camera", state="OK", warning=SKY),)),
                *[view()] * 3,
            ),
        ),
    ],
    ids=[
        "in time",
        "playback",
        "simulation",
        "a slow simulation with the rates that it has",
        "a loop that costs a view",
        "a clock that is bridged twice",
        "a few dropped",
        "one of two topics",
        "one odd pose",
    ],
)
def test_nothing_is_found_where_nothing_is_wrong(healthy):
    assert causes(healthy) == []


def test_system_time_in_a_simulation_is_told_from_the_simulation_in_system_time():
    wall = simulated(camera(stamps=((9000 * NS, 9000 * NS),), clock_ns=(41 * NS,)))
    (cause,) = causes(wall)
    assert cause.code == "other_clock"
    assert "8959.0 s in the future by /clock" in cause.text
    assert "/driver stamps by the system's time" in cause.text
    assert cause.fix == "use_sim_time: true   (on /driver, as on /camera_encoder)"

    nodes_in_wall = {"parameters": {node: {} for node in NODES}}
    item = camera(stamps=((41 * NS, 9000 * NS),), clock_ns=(41 * NS,))
    (cause,) = causes(simulated(item, **nodes_in_wall))
    assert cause.code == "other_clock"
    assert "by /clock of /gazebo, which nodes do not follow" in cause.text
    assert cause.fix.startswith("use_sim_time: true   (in the section /**")


def test_what_a_plug_in_of_transport_packs_is_named():
    packet = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
    topics = {f"{TOPIC}/ffmpeg": (packet,), f"{TOPIC}/compressedDepth": (IMAGE,)}
    (cause,) = causes(seen(camera(publishers=()), topics=topics))
    assert cause.code == "no_publisher"
    assert cause.fix.startswith(f"unpack {TOPIC}/ffmpeg ({packet}): ")


def test_a_driver_that_stamps_in_local_time_is_told_so():
    (cause,) = causes(seen(camera(stamps=((7200 * NS + 5 * NS, 5 * NS + NS // 10),))))
    assert cause.text.endswith("stamps by another clock (+2 h: local time in the place of UTC?)")
    assert cause.fix.startswith("give its sensor time in UTC")


def test_an_offset_out_of_range_is_not_advised():
    (cause,) = causes(seen(camera(stamps=((5 * NS, 905 * NS),))))
    assert cause.code == "other_clock"
    assert "time_offset_s" not in cause.fix


@pytest.mark.parametrize(
    ("age_s", "reason", "told"),
    [
        (-0.48, "stamp 0.48 s ahead of the node clock > 0.20 s", "0.48 s in the future"),
        (-0.13, "", "0.13 s in the future"),
        (0.55, "age 0.63 s > 0.50 s", "0.55 s old"),
        (0.55, "", ""),
        (0.05, "age 0.63 s > 0.50 s", ""),
        (-0.05, "", ""),
    ],
)
def test_a_clock_that_is_a_little_off_is_told_with_the_offset(age_s, reason, told):
    state = "STALE" if reason else "OK"
    views = (view(sources=(SourceSeen(name="camera", state=state, reason=reason),)),) * 10
    stamps = tuple((i * NS, i * NS + round(age_s * NS)) for i in range(1, 9))
    found = causes(seen(camera(stamps=stamps), views=views))
    assert [cause.code for cause in found] == (
        ["other_clock"] if told else ["source_not_ok"] if reason else []
    )
    if told:
        assert told in found[0].text
        assert f"camera.time_offset_s: {age_s:.2f}" in found[0].fix


def test_frames_that_were_held_up_are_of_no_other_clock():
    """In bursts the newest is young, and most are as old as the burst is long."""
    stamps = tuple((i * NS // 10, (i // 10 + 1) * NS) for i in range(10, 40))
    old = view(sources=(SourceSeen(name="camera", state="STALE", reason="age 0.63 s > 0.50 s"),))
    (cause,) = causes(seen(camera(stamps=stamps), views=(old,) * 10))
    assert cause.code == "source_not_ok"


def test_a_clock_of_ours_that_is_off_is_not_laid_to_a_driver():
    ours = {"camera_encoder": Diagnosis(level=0, message="OK", clock_s=-0.7)}
    stamps = ((5 * NS, 5 * NS + round(0.71 * NS)),)  # by our clock old, by that of the node not
    views = (
        view(sources=(SourceSeen(name="camera", state="STALE", reason="age 0.63 s > 0.50 s"),)),
    )
    (cause,) = causes(seen(camera(stamps=stamps), views=views * 5, diagnostics=ours))
    assert cause.code == "source_not_ok"


def test_two_cameras_on_one_topic_are_named():
    both = (endpoint("/left"), endpoint("/right"))
    at_10_hz = {"/camera_encoder": {"rate_hz": 10.0}}
    stamps = tuple((i * NS // 20, i * NS // 20 + 10**7) for i in range(1, 61))
    (cause,) = causes(seen(camera(publishers=both, stamps=stamps), parameters=at_10_hz))
    assert cause.code == "two_publishers"
    assert "/left and /right publish" in cause.text
    assert "60 messages in 3 s (expected 10 Hz)" in cause.text

    back = tuple((stamp - i % 2 * NS // 2, at) for i, (stamp, at) in enumerate(stamps[::2]))
    (cause,) = causes(seen(camera(publishers=(endpoint(),) * 2, stamps=back[1:])))
    assert cause.code == "two_publishers"
    assert "2 of /driver publish" in cause.text
    # What one of them left behind when it crashed, or one that waits in reserve, mixes nothing.
    assert causes(seen(camera(publishers=both, stamps=stamps[::2]), parameters=at_10_hz)) == []


def test_a_cause_is_said_once():
    """A silent driver makes its source missing, its encoder an error and no view valid."""
    missing = view(valid=False, sources=(SourceSeen(name="camera", state="MISSING"),))
    found = causes(seen(camera(stamps=()), views=(missing,) * 10, **status("no message on x")))
    assert [cause.code for cause in found] == ["silent_driver"]


def test_decisions_that_were_asked_for_are_no_fault():
    asked = view(level="DECISION", level_reason="no fusion model is installed")
    assert causes(seen(camera(), views=(asked,), parameters={"/fusion": {"model": ""}})) == []
    (cause,) = causes(seen(camera(), views=(asked,), parameters={"/fusion": {"model": "m"}}))
    assert cause.code == "decision_level"


@pytest.mark.parametrize(
    ("size_mb", "environment", "says"),
    [
        ((24000, 20000), {}, ""),
        ((64, 60), {}, "64 MB, 512 MB needed"),
        ((24000, 3), {}, "is full: 3 MB free"),
        ((24000, 3), {"FASTRTPS_DEFAULT_PROFILES_FILE": "/x/fastdds_shm.xml"}, "is full"),
        ((24000, 3), {"FASTRTPS_DEFAULT_PROFILES_FILE": "/x/mine.xml"}, ""),
        ((24000, 3), {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}, ""),
        ((24000, 3), {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, ""),
    ],
)
def test_room_for_shared_memory(size_mb, environment, says):
    total, free = (value << 20 for value in size_mb)
    problem = shared_memory_problem(environment, size=(total, free))
    assert says in problem if says else problem == ""


def missing(**changes):
    return camera(publishers=(), stamps=(), **changes)


def fix_of(code, observation):
    return next(cause.fix for cause in causes(observation) if cause.code == code)


def test_a_topic_that_may_be_meant_is_a_picture_of_the_same_name_before_any_other():
    topics = dict.fromkeys(
        (
            "/camera/aligned_depth_to_color/image_raw",
            "/camera/color/image_raw",
            "/camera/color/image_view",
            "/camera/infra1/image_rect_raw",
            TOPIC,
        ),
        (IMAGE,),
    )
    assert fix_of("no_publisher", seen(missing(), topics=topics)) == (
        f"--ros-args -r {TOPIC}:=/camera/color/image_raw   (on /camera_encoder; or one of "
        "/camera/color/image_view, /camera/aligned_depth_to_color/image_raw, "
        "/camera/infra1/image_rect_raw)"
    )


def test_a_camera_that_publishes_compressed_images_only_is_found():
    packed = "sensor_msgs/msg/CompressedImage"
    way = missing(
        topic=f"{TOPIC}/compressed", subscription=endpoint("/camera_encoder", type=packed)
    )
    rear = camera(
        source="camera_rear", topic="/rear/compressed", publishers=(endpoint(type=packed),)
    )
    topics = {"/cam0/image_raw/compressed": (packed,), "/rear/compressed": (packed,)}
    assert fix_of("no_publisher", seen(missing(), way, rear, topics=topics)) == (
        f"--ros-args -r {TOPIC}:=/cam0/image_raw   (on /camera_encoder)"
    )


def test_a_calibration_that_is_told_elsewhere_is_pointed_at():
    kind = "sensor_msgs/msg/CameraInfo"
    info = camera(
        topic="/camera/camera_info",
        calibration=True,
        publishers=(),
        subscription=endpoint("/camera_encoder", type=kind),
    )
    topics = {"/camera/depth/camera_info": (kind,), "/front/camera_info": (kind,)}
    (cause,) = causes(seen(camera(), info, topics=topics))
    assert cause.code == "no_calibration"
    assert cause.fix.startswith("--ros-args -r /camera/camera_info:=/front/camera_info   (on ")
    (cause,) = causes(seen(camera(), info))
    assert cause.fix.startswith("camera_info_url: ")
