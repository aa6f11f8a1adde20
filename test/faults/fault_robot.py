"""A LiDAR encoder and a model manager, real nodes, for tests of faults."""

from __future__ import annotations

import time

import sensors
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2

from edge_perception import msg, srv
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.manager.node import ModelManagerNode
from edge_perception.nodes.topics import qos


class FaultRobot:
    def __init__(self, harness, maker, *, manager=True, files=None, encoder=True, **parameters):
        self.harness, self.maker = harness, maker
        if encoder:
            own = maker.node_parameters if encoder is True else encoder
            self.encoder = harness.add(EncoderNode, "lidar", parameters=own)
        self.features = harness.subscribe(msg.Feature, "features/lidar")
        self.events = harness.subscribe(msg.ModelEvent, "model_events", qos.EVENTS)
        self.publisher = harness.driver.create_publisher(
            PointCloud2, "lidar/points", qos_profile_sensor_data
        )
        self.parameters = {
            **maker.parameters,
            "commit_delay_s": 0.05,
            "admission_latency_factor": 50.0,
            **parameters,
        }
        if manager:
            self.manager = self.start_manager(files=files)
        harness.start()
        if encoder:
            self.wait_connected()

    def start_manager(self, files=None):
        return self.harness.add(ModelManagerNode, parameters=self.parameters, files=files)

    def wait_connected(self):
        wait_until(
            lambda: (
                self.publisher.get_subscription_count()
                and self.harness.driver.count_publishers("features/lidar")
            ),
            "discovery",
        )

    def feature(self):
        """Send sweeps until one is answered: an encoder may just be starting."""
        since = len(self.features.messages)
        for _ in range(60):
            self.publisher.publish(sensors.cloud(time.time_ns(), points=500))
            try:
                return self.features.wait(since=since, timeout_s=0.5)
            except AssertionError:
                continue
        return self.features.wait(since=since, timeout_s=0.5)

    def version(self):
        return self.feature().model.version

    def swap(self, name, version="", *, skip_trial=True, timeout_s=60.0):
        request = srv.SwapModel.Request(
            role="lidar", name=name, version=version, skip_trial=skip_trial
        )
        return self.harness.call(
            srv.SwapModel, "/model_manager/swap_model", request, timeout_s=timeout_s
        )

    def roll_back(self, slot="", *, timeout_s=60.0):
        request = srv.RollbackModel.Request(slot=slot)
        return self.harness.call(
            srv.RollbackModel, "/model_manager/rollback_model", request, timeout_s=timeout_s
        )

    def refuses(self, name, *texts, **more):
        """The change is refused with a named reason, and the model that ran serves on."""
        before = self.feature().model
        answer = self.swap(name, **more)
        assert not answer.success
        for text in texts:
            assert text in answer.reason, answer.reason
        after = self.feature()
        assert after.valid
        assert after.model == before
        return answer.reason

    def serves(self, version):
        wait_until(lambda: self.version() == version, f"{version} serves")
