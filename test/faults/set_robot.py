"""A whole robot on a rendered street: camera, LiDAR, audio, fusion and manager, real nodes."""

from __future__ import annotations

import threading
import time
from functools import cache

import numpy as np
import sensors
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from edge_perception import msg, srv
from edge_perception.nodes.composition import sink_of
from edge_perception.nodes.conversion import time_msg
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.manager.node import ModelManagerNode
from edge_perception.nodes.topics import qos
from edge_perception.samples.truth import pose_of
from edge_perception.simulation.generate import generate_frame
from edge_perception.simulation.scenario import Camera, Scenario
from edge_perception.simulation.world import World

FRAMES = 4
PERIOD_S = 0.2  # so slow that a busy machine keeps up
SOURCES = ("camera", "lidar", "audio")


@cache
def street():
    """Render a few frames of a street with road users."""
    scenario = Scenario(
        name="set", sensors=("camera", "lidar"), camera=Camera(width=512, height=288)
    )
    world = World(scenario, 4)
    return [generate_frame(scenario, 4, 0.2 * k, world=world) for k in range(FRAMES)]


class SetRobot:
    def __init__(self, harness, maker, *, composed=False, manager=True, outside="", **parameters):
        self.harness, self.maker = harness, maker
        first = street()[0]
        poses = {"camera": first.T_base_camera, "lidar": first.T_base_lidar}
        rates = {f"{source}.rate_hz": 1 / PERIOD_S for source in SOURCES}
        of_fusion = {**maker.node_parameters, **rates}
        fusion = None
        if outside != "fusion":
            fusion = harness.add(FusionNode, parameters=of_fusion, subscribe=not composed)
        self.outside = of_fusion  # parameters of the node that runs in a process of its own
        for source in SOURCES:
            pose = [float(value) for value in pose_of(poses[source])] if source in poses else []
            own = {**maker.node_parameters, "rate_hz": 1 / PERIOD_S}
            if pose:
                own["T_base_sensor"] = pose
            if source == outside:
                self.outside = own
                continue
            more = {}
            if composed:
                more = {"sink": sink_of(fusion, source), "beside": fusion.accept_beside}
            harness.add(EncoderNode, source, parameters=own, **more)
        self.fusion = fusion
        self.parameters = {
            **maker.parameters,
            "commit_delay_s": 0.05,
            "admission_latency_factor": 100.0,
            **parameters,
        }
        if manager:
            self.manager = self.start_manager()
        self.views = harness.subscribe(msg.FusedPerception, "perception/fused")
        self.events = harness.subscribe(msg.ModelEvent, "model_events", qos.EVENTS)
        driver = harness.driver
        self._camera = driver.create_publisher(Image, "camera/image_raw", qos_profile_sensor_data)
        self._info = driver.create_publisher(
            CameraInfo, "camera/camera_info", qos_profile_sensor_data
        )
        self._lidar = driver.create_publisher(PointCloud2, "lidar/points", qos_profile_sensor_data)
        self._audio = driver.create_publisher(msg.AudioChunk, "audio", 20)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        harness.start()

    def start_manager(self):
        return self.harness.add(ModelManagerNode, parameters=self.parameters)

    def __enter__(self):
        wait_until(
            lambda: all(
                p.get_subscription_count() for p in (self._camera, self._lidar, self._audio)
            ),
            "discovery",
        )
        self._thread.start()
        self.views.wait(lambda view: view.mode == view.MODE_FULL and view.objects, timeout_s=60)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def swap(self, name="bev_lite_lidar", version="", *, skip_trial=False, timeout_s=150.0):
        request = srv.SwapModel.Request(name=name, version=version, skip_trial=skip_trial)
        return self.harness.call(
            srv.SwapModel, "/model_manager/swap_model", request, timeout_s=timeout_s
        )

    def roll_back(self):
        request = srv.RollbackModel.Request()
        return self.harness.call(srv.RollbackModel, "/model_manager/rollback_model", request)

    def serves(self, versions, timeout_s=30.0):
        """Wait for a view of these versions, by role; sound comes at its own pace."""

        def of(view):
            found = {model.role: model.version for model in view.models}
            return all(found.get(role) == version for role, version in versions.items())

        return self.views.wait(of, since=len(self.views.messages), timeout_s=timeout_s)

    def steps(self, transaction_id):
        return [e.event for e in self.events.messages if e.transaction_id == transaction_id]

    def mixed(self):
        """Return the views of features of two spaces."""
        return [
            view
            for view in self.views.messages
            if len({m.feature_space for m in view.models if m.role in SOURCES}) > 1
        ]

    def _play(self):
        """Publish the street to and fro, with noise: a sensor that repeats itself is frozen."""
        rng = np.random.default_rng(0)
        order = [*range(FRAMES), *range(FRAMES - 2, 0, -1)]
        start_ns, count = time.time_ns(), 0
        while not self._stop.is_set():
            # On a schedule, as sensors are; what a busy machine sends too late is left out.
            late = (time.time_ns() - start_ns) / 1e9 / PERIOD_S
            count = max(count + 1, int(late))
            stamp = start_ns + round(count * PERIOD_S * 1e9)
            if self._stop.wait(max((stamp - time.time_ns()) / 1e9, 0.0)):
                return
            frame = street()[order[count % len(order)]]
            self._info.publish(_info(frame, stamp))
            self._lidar.publish(_cloud(frame, stamp, rng))
            self._camera.publish(_image(frame, stamp, rng))
            samples = round(PERIOD_S * sensors.RATE_HZ)
            self._audio.publish(sensors.chunk(stamp, count * samples, samples=samples))


def _image(frame, stamp, rng):
    bgr = frame.image.bgr.copy()
    row = int(rng.integers(len(bgr)))
    bgr[row] = rng.integers(0, 255, bgr[row].shape, np.uint8)
    height, width = bgr.shape[:2]
    message = Image(
        width=width, height=height, encoding="bgr8", step=3 * width, data=sensors.filled(bgr)
    )
    message.header.stamp, message.header.frame_id = time_msg(stamp), "camera_optical"
    return message


def _info(frame, stamp):
    height, width = frame.image.bgr.shape[:2]
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    K = frame.image.intrinsics
    message.k = [float(value) for value in K.reshape(-1)]
    message.p = [float(value) for value in np.hstack([K, np.zeros((3, 1))]).reshape(-1)]
    message.header.stamp, message.header.frame_id = time_msg(stamp), "camera_optical"
    return message


def _cloud(frame, stamp, rng):
    xyz = frame.cloud.xyz_m
    message = sensors.cloud(stamp, points=1)
    values = np.column_stack([xyz, frame.cloud.intensity]).astype(np.float32)
    values[:500, :3] += rng.normal(0.0, 0.01, (500, 3))
    message.width, message.row_step = len(xyz), 16 * len(xyz)
    message.data = sensors.filled(values)
    return message
