"""Shadow and canary through the real nodes: a good model passes, a bad one is stopped."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
import sensors
from fault_robot import FaultRobot
from releases import Maker

OLD, NEW = "1.0.0", "2.0.0"
# Few samples, so that a trial takes seconds.
QUICK = {
    "error_rate": 0.05,
    "error_rate_bad": 0.6,
    "min_samples": 8,
    "max_samples": 400,
    "latency_increase": 1.0,
    "stage_timeout_s": 25.0,
    "behaviour": {"min_frames": 20, "max_frames": 40},
}
NO_WATCH = {"soak_s": 0.0}
FEW, MANY = 400, 6000  # points of a sweep


@pytest.fixture
def maker(tmp_path):
    pytest.importorskip("onnx")
    maker = Maker(tmp_path)
    old = maker.install(name="old", version=OLD, scale=1.0)
    models = {"lidar": old.sha256}
    maker.store.slots.point(factory=models, current=models)
    maker.asks(trial=QUICK, watch=NO_WATCH)
    return maker


class Sweeps:
    """Sends sweeps at 20 Hz while a change runs."""

    def __init__(self, robot):
        self.robot, self.points = robot, FEW
        self.sent = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        # Each sweep differs from all others: where frames are dropped, few in a row would repeat,
        # and a sensor that repeats itself is frozen.
        for seed in itertools.count():
            if self._stop.wait(0.05):
                return
            message = sensors.cloud(time.time_ns(), points=self.points, seed=seed)
            self.sent.append(message.header.stamp)
            self.robot.publisher.publish(message)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def nan_on_dense_sweeps(model):
    """Outputs become NaN where the sum of the raster says that the sweep has many points."""
    from onnx import helper, numpy_helper

    limit = numpy_helper.from_array(np.array(dense_limit(), np.float32), "limit")
    zero = numpy_helper.from_array(np.array(0.0, np.float32), "zero")
    model.graph.initializer.extend([limit, zero])
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["plain" if o == name else o for o in node.output]
        node.input[:] = ["plain" if i == name else i for i in node.input]
    model.graph.node.extend(
        [
            helper.make_node("ReduceSum", [model.graph.input[0].name], ["mass"], keepdims=0),
            helper.make_node("Sub", ["limit", "mass"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Mul", ["root", "zero"], ["nothing"]),
            helper.make_node("Add", ["plain", "nothing"], [name]),
        ]
    )


def dense_limit():
    """A sum between those of the two sweeps, and above that of the golden input."""
    from releases import installed

    from edge_perception.backends import BackendOptions, backends
    from edge_perception.core.types import Geometry
    from edge_perception.encoders.lidar.encoder import LidarEncoder, LidarIntake

    bundle = installed("lidar")
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    encoder = LidarEncoder(bundle.manifest, backend)
    sums = {}
    for points in (FEW, MANY):
        frame = LidarIntake().frame(sensors.cloud(1, points=points))
        (raster,) = encoder.preprocess(frame, Geometry()).values()
        sums[points] = float(raster.sum())
    backend.close()
    assert sums[MANY] > 2 * sums[FEW]
    return (sums[FEW] + sums[MANY]) / 2


def checked(robot, sweeps, since):
    """Every sweep since then gave one valid feature, and the last ones are of the old model."""
    features = robot.features.messages[since:]
    assert [f.invalid_reason for f in features if not f.valid] == []
    stamps = [(f.header.stamp.sec, f.header.stamp.nanosec) for f in features]
    assert len(stamps) == len(set(stamps))
    return features


def test_a_good_model_passes_shadow_and_canary(harness, maker):
    maker.install(name="new", version=NEW, release=3, scale=1.0)
    robot = FaultRobot(harness, maker)
    with Sweeps(robot) as sweeps:
        answer = robot.swap("new", skip_trial=False, timeout_s=100)
        assert answer.success, answer.reason
        robot.features.wait(lambda f: f.model.version == NEW, since=len(robot.features.messages))
    id_ = answer.transaction_id
    robot.events.wait(lambda e: e.event == "done" and e.transaction_id == id_)
    mine = [e.event for e in robot.events.messages if e.transaction_id == id_]
    assert mine == [
        "begin",
        "admitted",
        "prepared",
        "shadow 100%",
        "canary 10%",
        "canary 25%",
        "canary 100%",
        "commit",
        "committed",
        "done",
    ]
    checked(robot, sweeps, 0)


def test_nan_only_in_canary(harness, maker):
    # The golden input of the release is replaced by one with few points.
    bad = maker.bundle(
        name="new",
        version=NEW,
        release=3,
        scale=1.0,
        changes={"golden": None},
        edit=nan_on_dense_sweeps,
    )
    import dataclasses
    import json

    from edge_perception.backends import BackendOptions, backends
    from edge_perception.models.golden import save_arrays
    from edge_perception.models.manifest import file_entry, load_bundle

    inputs = {s.name: np.zeros(s.shape, s.dtype) for s in bad.manifest.inputs}
    backend = backends()["onnxruntime"].load(bad.model_path, BackendOptions())
    save_arrays(bad.path / "golden_inputs.npz", inputs)
    save_arrays(bad.path / "golden_outputs.npz", backend.infer(inputs))
    backend.close()
    path = bad.path / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("golden_inputs.npz", "golden_outputs.npz"):
        manifest["files"][name] = dataclasses.asdict(file_entry(bad.path / name))
    path.write_text(json.dumps(manifest))
    archive = maker.signed(load_bundle(bad.path))
    release = maker.store.install(archive, maker.trust, now_ns=time.time_ns())

    robot = FaultRobot(harness, maker)
    with Sweeps(robot) as sweeps:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(robot.swap("new", skip_trial=False, timeout_s=100))
        )
        thread.start()
        robot.events.wait(lambda e: e.event == "canary 25%", timeout_s=60)
        sweeps.points = MANY
        thread.join(60)
        since = len(robot.features.messages)
        later = robot.features.wait(since=since)
    (answer,) = answers
    assert not answer.success
    assert "NaN" in answer.reason
    assert later.model.version == OLD
    features = checked(robot, sweeps, 0)  # the frame that met the NaN was served by the old model
    served = [feature.model.version for feature in features]
    assert NEW in served  # it had its share before
    assert "NaN" in maker.store.notes.quarantined(release.sha256)
    assert "in quarantine" in robot.swap("new").reason


def slow(model):
    """Add work that changes nothing: the model takes a multiple of its time."""
    from onnx import helper, numpy_helper

    size = 700
    dense = np.full((size, size), 1.0 / size, np.float32)
    zero = numpy_helper.from_array(np.array(0.0, np.float32), "zero")
    model.graph.initializer.extend([numpy_helper.from_array(dense, "dense"), zero])
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["plain" if o == name else o for o in node.output]
        node.input[:] = ["plain" if i == name else i for i in node.input]
    nodes = [
        helper.make_node("ReduceMax", [model.graph.input[0].name], ["top"], keepdims=0),
        helper.make_node("Mul", ["dense", "top"], ["work_0"]),
    ]
    steps = 8
    for step in range(steps):
        nodes.append(helper.make_node("MatMul", [f"work_{step}", "dense"], [f"work_{step + 1}"]))
    nodes += [
        helper.make_node("ReduceMean", [f"work_{steps}"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["plain", "nothing"], [name]),
    ]
    model.graph.node.extend(nodes)


def test_a_slower_model_is_rolled_back_in_the_shadow(harness, maker):
    changes = {"resources": {}, "gates": {"latency_ms": 0.0}}
    maker.install(name="new", version=NEW, release=3, scale=1.0, changes=changes, edit=slow)
    robot = FaultRobot(harness, maker)
    with Sweeps(robot) as sweeps:
        answer = robot.swap("new", skip_trial=False, timeout_s=100)
        later = robot.features.wait(since=len(robot.features.messages))
    assert not answer.success
    assert "slower by" in answer.reason
    assert later.model.version == OLD
    features = checked(robot, sweeps, 0)
    assert {feature.model.version for feature in features} == {OLD}


def test_no_data_holds_and_then_rolls_back(harness, maker):
    maker.asks(trial={**QUICK, "stage_timeout_s": 1.0})
    # What its manifest asks for itself can only be more.
    lax = {"stage_timeout_s": 60.0, "min_samples": 1, "error_rate_bad": 0.9}
    maker.install(name="new", version=NEW, release=3, changes={"objectives": lax})
    robot = FaultRobot(harness, maker)
    robot.refuses("new", "shadow 100%: 0 frames in 1", skip_trial=False)
