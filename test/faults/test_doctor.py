"""The doctor on broken set-ups: real nodes, watched from another ROS context."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import sensors
from geometry_msgs.msg import PoseStamped
from harness import Harness, wait_until
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from edge_perception.cli.main import main
from edge_perception.msg import AudioChunk, Feature, FusedPerception, SourceStatus
from edge_perception.nodes.conversion import time_msg
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.observe.doctor import machine
from edge_perception.observe.doctor.observation import Cause
from edge_perception.observe.doctor.observe import observe
from edge_perception.observe.doctor.rules import causes

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture
def system(ros_domain):
    """Nodes and drivers in one context; `feed` publishes until the test ends."""
    harness = Harness(ros_domain)
    stop = threading.Event()
    threads = []

    class System:
        domain = ros_domain

        def add(self, *args, **kwargs):
            return harness.add(*args, **kwargs)

        def feed(self, type_, topic, qos, make):
            publisher = harness.driver.create_publisher(type_, topic, qos)

            def run():
                number = 0
                while not stop.wait(0.1):
                    publisher.publish(make(number))
                    number += 1

            threads.append(threading.Thread(target=run, daemon=True))

        def start(self):
            harness.start()
            for thread in threads:
                thread.start()

        def vehicle(self, make=None, **fusion):
            """A LiDAR with its encoder and fusion, running."""
            # Limits that a machine at work on other things keeps.
            encoder = self.add(
                EncoderNode, "lidar", parameters={"rate_hz": 2.0, "budget_ms": 10000.0}
            )
            usual = {"sources": ["lidar"], "model": "", "lidar.rate_hz": 2.0}
            node = self.add(FusionNode, parameters={**usual, **fusion})
            if make is not None:
                self.feed(PointCloud2, "lidar/points", qos_profile_sensor_data, make)
            self.start()
            return encoder, node

        def gone(self, code=""):
            """Watch until the doctor does not find it any more; empty: until it finds nothing."""
            for _ in range(15):
                seen = observe(domain_id=ros_domain, watch_s=1.5)
                found = [cause for cause in causes(seen) if code in ("", cause.code)]
                if not found:
                    return seen
            raise AssertionError(f"still {found}")

        def change_state(self, node, transition):
            request = ChangeState.Request(transition=Transition(label=transition))
            return harness.call(ChangeState, f"{node}/change_state", request).success

        def diagnose(self, code, watch_s=1.5):
            """Watch until it is found: nodes say what is wrong when they get a core."""
            for _ in range(10):
                seen = observe(domain_id=ros_domain, watch_s=watch_s)
                found = {cause.code: cause for cause in causes(seen)}
                if code in found:
                    return found[code]
            raise AssertionError(f"found {found} in {seen}")

        harness_ = harness

    yield System()
    stop.set()
    for thread in threads:
        thread.join(2.0)
    harness.close()


def image(_number):
    return sensors.image(time.time_ns())


def cloud(_number):
    return sensors.cloud(time.time_ns())


def test_a_wrong_type_is_named_with_both_types(system):
    system.add(EncoderNode, "camera")
    system.start()
    stranger = Harness(system.domain)  # one participant cannot hold both types
    try:
        stranger.driver.create_publisher(
            CompressedImage, "camera/image_raw", qos_profile_sensor_data
        )
        cause = system.diagnose("wrong_type")
    finally:
        stranger.close()
    assert "sensor_msgs/msg/Image" in cause.text
    assert "sensor_msgs/msg/CompressedImage" in cause.text
    assert "driver" in cause.fix


def test_a_type_that_is_not_installed_here_is_named_too(system, monkeypatch):
    """As Livox publishes by default: a robot's driver has types that this machine does not."""
    system.add(EncoderNode, "lidar")
    system.start()
    stranger = Harness(system.domain)
    try:
        stranger.driver.create_publisher(PoseStamped, "lidar/points", qos_profile_sensor_data)
        monkeypatch.setitem(sys.modules, "geometry_msgs.msg", None)  # cannot be imported
        cause = system.diagnose("wrong_type")
    finally:
        monkeypatch.undo()
        stranger.close()
    assert "geometry_msgs/msg/PoseStamped" in cause.text


def test_incompatible_qos_is_named_with_the_policy(system):
    system.add(EncoderNode, "audio")
    system.feed(
        AudioChunk, "audio", BEST_EFFORT, lambda n: sensors.chunk(time.time_ns(), n * sensors.CHUNK)
    )
    system.start()
    cause = system.diagnose("incompatible_qos")
    assert "best effort" in cause.text
    assert "reliability: reliable" in cause.fix


def test_sim_time_without_a_clock(system):
    system.add(EncoderNode, "lidar", parameters={"use_sim_time": True})
    system.feed(PointCloud2, "lidar/points", qos_profile_sensor_data, cloud)
    system.start()
    cause = system.diagnose("sim_time_without_clock")
    assert "/lidar_encoder" in cause.text
    assert "use_sim_time: false" in cause.fix


def test_a_simulation_that_is_paused_and_a_sensor_that_does_not_follow_it(system):
    now = {"s": 100.0, "step_s": 0.0}

    def tick(_number):
        now["s"] += now["step_s"]
        return Clock(clock=time_msg(round(now["s"] * 1e9)))

    simulated = {"use_sim_time": True}
    system.add(EncoderNode, "lidar", parameters={**simulated, "rate_hz": 2.0})
    system.add(
        FusionNode,
        parameters={**simulated, "sources": ["lidar"], "model": "", "lidar.rate_hz": 2.0},
    )
    system.feed(Clock, "/clock", BEST_EFFORT, tick)
    system.feed(PointCloud2, "lidar/points", qos_profile_sensor_data, cloud)  # of system time
    system.start()
    cause = system.diagnose("clock_stands_still")
    assert "its time stands still at 100.000 s" in cause.text
    now["step_s"] = 0.1
    cause = system.diagnose("other_clock")
    assert "in the future by /clock" in cause.text
    assert "stamps by the system's time" in cause.text


def test_stamps_of_another_clock_give_the_offset(system):
    system.add(EncoderNode, "lidar")
    late = 60 * 10**9
    system.feed(
        PointCloud2,
        "lidar/points",
        qos_profile_sensor_data,
        lambda _: sensors.cloud(time.time_ns() - late),
    )
    system.start()
    cause = system.diagnose("other_clock")
    assert "60.0 s old" in cause.text
    assert "chronyc" in cause.fix
    assert "time_offset_s" not in cause.fix  # 10 s are the most that is accepted


def test_a_missing_calibration(system):
    system.add(EncoderNode, "camera")
    system.feed(Image, "camera/image_raw", qos_profile_sensor_data, image)
    system.start()
    cause = system.diagnose("no_calibration")
    assert "/camera/camera_info" in cause.text
    assert "camera_info_url" in cause.fix


def test_a_missing_model(system):
    node = system.add(EncoderNode, "lidar", parameters={"model": "no_such_model"})
    assert not node.is_active
    system.start()
    cause = system.diagnose("model_missing")
    assert "no_such_model" in cause.text
    assert "model:" in cause.fix


def test_another_domain_is_found(system, capsys):
    system.add(FusionNode)
    system.start()
    other = system.domain % 100 + 101
    seen = observe(domain_id=other, watch_s=0.4)
    cause = next(iter(causes(seen)))
    assert cause.code == "domain_mismatch"
    assert system.domain in seen.other_domains
    assert "export ROS_DOMAIN_ID=" in cause.fix
    assert main(["doctor", "--domain", str(other), "--watch", "0.4"]) == 1
    assert "change: export ROS_DOMAIN_ID=" in capsys.readouterr().out


def test_a_healthy_system_has_no_cause(system):
    encoder, _ = system.vehicle(cloud)
    fused = system.harness_.subscribe(FusedPerception, "perception/fused")
    fused.wait(lambda message: message.mode == message.MODE_FULL)
    wait_until(lambda: encoder.is_active, "encoder")
    assert system.gone().fused_valid > 0


def test_two_launches_until_one_ends(system):
    system.vehicle(cloud)
    command = [sys.executable, "-m", "edge_perception.nodes.executables", "perception"]
    parameters = ["-p", "sources:=[lidar]", "-p", "fusion:model:=''", "-p", "budget_ms:=10000.0"]
    other = subprocess.Popen([*command, "--ros-args", *parameters])
    names = system.harness_.driver.get_node_names
    try:
        wait_until(lambda: names().count("fusion") == 2, "the second launch")
        cause = system.diagnose("two_launches")
        assert "/fusion, /lidar_encoder" in cause.text
    finally:
        other.send_signal(signal.SIGINT)
        assert other.wait(60.0) == 0
    system.gone()


def test_a_source_whose_encoder_is_not_there(system):
    system.vehicle(cloud, sources=["lidar", "audio"])
    cause = system.diagnose("source_not_ok")
    assert "audio: MISSING" in cause.text
    assert "/audio_encoder is not there" in cause.fix


def test_nodes_that_live_in_two_times(system):
    system.add(EncoderNode, "lidar", parameters={"use_sim_time": True})
    system.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
    system.harness_.driver.create_publisher(Clock, "/clock", 1)
    system.start()
    cause = system.diagnose("mixed_clocks")
    assert "true on /lidar_encoder and false on /fusion" in cause.text


def test_features_of_another_set(system):
    """The fusion model serves, and cannot read what this encoder sends."""
    encoder, _ = system.vehicle(cloud, model="bev_lite/fusion")
    loaded = encoder._models.pipeline.model.loaded
    manifest = dataclasses.replace(loaded.bundle.manifest, feature_space="other_1")
    encoder._models.pipeline.model.loaded = dataclasses.replace(
        loaded, bundle=dataclasses.replace(loaded.bundle, manifest=manifest)
    )
    cause = system.diagnose("feature_space")
    assert "other_1" in cause.text
    assert "model: bev_lite/lidar" in cause.fix
    encoder._models.pipeline.model.loaded = loaded
    system.gone()


def test_nodes_of_a_namespace_are_found_and_another_is_named(system):
    system.harness_.add(
        FusionNode, parameters={"sources": ["lidar"], "model": ""}, namespace="/robot1"
    )
    system.start()
    assert observe(domain_id=system.domain, watch_s=0.2).namespace == "/robot1"
    seen = observe(domain_id=system.domain, namespace="robot2", watch_s=0.2)
    cause = causes(seen)[0]
    assert cause.code == "namespace"
    assert "--namespace /robot1" in cause.fix


LARGE_DRIVER = """
import array, time, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("large_driver")
qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
publisher = node.create_publisher(Image, "camera/image_raw", qos)
image = Image(width=1920, height=1080, encoding="bgr8", step=5760)
image.data = array.array("B", bytes(5760 * 1080))
end = time.monotonic() + 60
while time.monotonic() < end:
    now = time.time_ns()
    image.header.stamp.sec, image.header.stamp.nanosec = divmod(now, 10**9)
    image.data[0] = now % 256
    publisher.publish(image)
    time.sleep(0.03)
"""


def test_frames_that_get_lost_on_their_way_are_counted(system):
    """A driver of another process without shared memory for its 6 MB, as most are started."""
    system.add(EncoderNode, "camera")
    system.start()
    driver = subprocess.Popen(
        [sys.executable, "-c", LARGE_DRIVER],
        env={**os.environ, "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"},
    )
    try:
        cause = system.diagnose("frames_lost", watch_s=3.0)
    finally:
        driver.kill()
        driver.wait()
    assert "/camera/image_raw: " in cause.text
    assert "/large_driver sent in 3 s never reached /camera_encoder" in cause.text
    assert "edge-perception transport" in cause.fix


class Setup:
    """A LiDAR with its encoder, fusion, and the sound that fusion asks for without an encoder."""

    def __init__(self, system, capsys, monkeypatch):
        self.system, self.capsys, self.monkeypatch = system, capsys, monkeypatch
        self.driver = system.harness_.driver
        self.make, self.sends = cloud, True
        _, self.fusion = system.vehicle(sources=["lidar"], **{"lidar.max_age_s": 2.0})
        self.publisher = self.on("lidar/points")
        self.publishing = threading.Lock()  # the timer runs in the harness's thread
        self.driver.create_timer(0.1, self._publish)
        self.others = []

    def on(self, topic, kind=PointCloud2, qos=qos_profile_sensor_data):
        return self.driver.create_publisher(kind, topic, qos)

    def _publish(self):
        with self.publishing:
            if self.sends and self.publisher is not None:
                self.publisher.publish(self.make(0))

    def doctor(self):
        """Return the exit status, and what is said by code."""
        status = main(["doctor", "--domain", str(self.system.domain), "--watch", "1.0"])
        text = self.capsys.readouterr().out
        found = re.findall(r"^(\w+): (.*)\n    change: (.*)$", text, re.M)
        assert bool(found) == bool(status), text
        return status, {code: Cause(code=code, text=told, fix=fix) for code, told, fix in found}

    # -- what is broken, and what is done as advised --

    def _unplug(self):
        with self.publishing:
            self.driver.destroy_publisher(self.publisher)
            self.publisher = None

    def _remap(self, cause):
        topic = re.search(r"-r (/\S+):=(/\S+) ", cause.fix)
        assert topic.groups() == ("/lidar/points", "/velodyne_points")
        self.driver.destroy_publisher(self.others.pop())
        self.publisher = self.on(topic[1])

    def _other_name(self):
        self._unplug()
        self.others.append(self.on("velodyne_points"))

    def _call(self, name, cause):
        label = re.match(rf"ros2 lifecycle set /{name} (\w+)", cause.fix)[1]
        assert self.system.change_state(name, label)

    def _stranger(self, kind, topic):
        self.others.append(self.on(topic, kind, 5))

    def _end_stranger(self, cause):
        assert "end /driver" in cause.fix
        self.driver.destroy_publisher(self.others.pop())

    def _stamps(self, make):
        self.make = make

    def _stamp_by_node(self, cause):
        assert "msg.header.stamp = node.get_clock().now().to_msg()" in cause.fix
        self.make = cloud

    def _offset(self, cause):
        name, _, value = re.search(
            r"or (\S+)(: )(\S+) {3}\(parameter of fusion", cause.fix
        ).groups()
        self._set(name, float(value))

    def _set(self, name, value):
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        answer = self.system.harness_.call(SetParameters, "fusion/set_parameters", request)
        assert answer.results[0].successful, answer.results[0].reason

    def _shared_memory(self, free):
        usual = os.statvfs
        if free is None:
            self.monkeypatch.undo()
            os.environ["ROS_DOMAIN_ID"] = str(self.system.domain)
            return
        full = SimpleNamespace(f_blocks=2**20, f_bavail=free, f_frsize=4096)
        self.monkeypatch.setattr(
            machine.os, "statvfs", lambda path: full if str(path) == "/dev/shm" else usual(path)
        )

    def broken(self):
        """Return what is done, what is found, and how the advice is followed; by name."""
        behind = 3 * 10**9

        def set_up(change, *args):
            return lambda: change(*args)

        return {
            "a driver that is there and silent": (
                set_up(setattr, self, "sends", False),
                "silent_driver",
                lambda _: setattr(self, "sends", True),
            ),
            "a driver under another name": (self._other_name, "no_publisher", self._remap),
            "a LiDAR that has been missing": (
                self._unplug,
                "no_publisher",
                lambda _: setattr(self, "publisher", self.on("lidar/points")),
            ),
            "an encoder that is not active": (
                set_up(self.system.change_state, "lidar_encoder", "deactivate"),
                "not_active",
                lambda cause: self._call("lidar_encoder", cause),
            ),
            "fusion that is not active": (
                set_up(self.system.change_state, "fusion", "deactivate"),
                "not_active",
                lambda cause: self._call("fusion", cause),
            ),
            "somebody else's features": (
                set_up(self._stranger, Feature, "features/lidar"),
                "second_publisher",
                self._end_stranger,
            ),
            "somebody else's views": (
                set_up(self._stranger, FusedPerception, "perception/fused"),
                "second_publisher",
                self._end_stranger,
            ),
            "stamps of zero": (
                set_up(self._stamps, lambda _: sensors.cloud(0)),
                "zero_stamps",
                self._stamp_by_node,
            ),
            "stamps 3 s behind": (
                set_up(self._stamps, lambda _: sensors.cloud(time.time_ns() - behind)),
                "other_clock",
                self._offset,
            ),
            "the offset of before, and stamps that are right": (
                set_up(self._stamps, cloud),
                "other_clock",
                self._offset,
            ),
            "clouds without z": (
                set_up(self._stamps, lambda n: without_z(cloud(n))),
                "refused",
                lambda _: self._stamps(cloud),
            ),
            "a full /dev/shm": (
                set_up(self._shared_memory, 0),
                "shared_memory",
                lambda cause: self._shared_memory(2**19) if "/dev/shm" in cause.fix else None,
            ),
        }


def without_z(message):
    message.fields = message.fields[:2]
    return message


@pytest.mark.timeout(900)
def test_twelve_broken_set_ups_until_the_advice_is_followed(system, capsys, monkeypatch):
    """The real command, each time: exit 1 and the finding, then the finding is gone."""
    setup = Setup(system, capsys, monkeypatch)
    broken = setup.broken()
    assert len(broken) == 12
    for name, (break_it, code, follow) in broken.items():
        break_it()
        for _ in range(15):  # what was broken a moment ago may still be told as such
            status, found = setup.doctor()
            if code in found:
                break
        assert status == 1, name
        assert code in found, f"{name}: {found}"
        follow(found[code])
        for _ in range(15):
            status, found = setup.doctor()
            if code not in found:
                break
        assert code not in found, f"{name}: still {found}"
    for _ in range(15):
        status, found = setup.doctor()
        if not status:
            break
    assert status == 0, found


def test_a_provider_that_is_not_here_until_the_one_that_is_named_is_asked_for(system):
    def encoder(**more):
        return system.add(EncoderNode, "lidar", parameters={"budget_ms": 10_000.0, **more})

    first = encoder(provider="MIGraphXExecutionProvider")
    system.feed(PointCloud2, "lidar/points", qos_profile_sensor_data, cloud)
    system.start()
    cause = system.diagnose("provider_fell_back")
    assert "MIGraphXExecutionProvider is not in this build of ONNX Runtime" in cause.text
    name, _, value = cause.fix.partition("   (")[0].partition(": ")
    first.close()
    system.harness_.executor.remove_node(first)
    system.harness_.nodes.remove(first)
    first.destroy_node()
    assert encoder(**{name: value}).is_active
    system.gone("provider_fell_back")


def test_any_number_in_a_fused_message_is_looked_at(system):
    system.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
    system.feed(
        FusedPerception,
        "perception/fused",
        5,
        lambda _: FusedPerception(level=200, sources=[SourceStatus(source="x", state=77)]),
    )
    system.start()
    cause = system.diagnose("source_not_ok")
    assert "77" in cause.text or "lidar" in cause.text


def test_the_same_question_has_the_same_answer(system):
    system.vehicle(lambda _: sensors.cloud(time.time_ns() - 900 * 10**9))
    # Beside it a busy machine may have other causes to tell of.
    answers = [system.diagnose("other_clock", watch_s=1.0) for _ in range(3)]
    assert len({cause.fix for cause in answers}) == 1
