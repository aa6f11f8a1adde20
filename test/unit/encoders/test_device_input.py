"""Encoders whose inputs kernels make: the same outputs, and the CPU where they cannot."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from kernels_on_cpu import OnCpu
from numpy.typing import NDArray

from edge_perception.backends import BackendOptions, BackendSpec, backends
from edge_perception.backends.device_program import DeviceProgram
from edge_perception.core.clock import FakeClock
from edge_perception.core.errors import BackendError
from edge_perception.core.health import NOT_AS_ASKED, Health, Level
from edge_perception.core.types import Feature, Geometry, ImageFrame, ModelVersion, PointCloud
from edge_perception.encoders import EncoderOutput, encoders
from edge_perception.encoders.health import EncoderHealth, HealthLimits
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.serving import ServedModel
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.loading import LoadedModel, ModelOptions, _preprocess
from edge_perception.nodes.fusion.findings import with_runtime

INTRINSICS = np.array([[420.0, 0, 320], [0, 420, 180], [0, 0, 1]])
LOOKS_AHEAD = np.array([[0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1.6], [0, 0, 0, 1.0]])


class WithKernels:
    """ONNX Runtime, with kernels that run on the CPU."""

    def __init__(self, inner, wrong: str = "") -> None:
        self._inner, self._wrong = inner, wrong
        self._on_cpu: OnCpu | None = None
        self._program: DeviceProgram | None = None
        self.programs = 0
        self.made = 0  # inputs, by kernels

    def run_program(self, program: DeviceProgram) -> None:
        if program is self._program:
            return
        self.programs += 1
        if self._wrong:
            raise BackendError(self._wrong)
        shapes = {info.name: info.shape for info in self._inner.describe().inputs}
        self._program, self._on_cpu = program, OnCpu(program, shapes[program.input])

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        program, on_cpu = self._program, self._on_cpu
        if program is None or on_cpu is None or program.input in inputs:
            return self._inner.infer(inputs)
        results = on_cpu(inputs)
        self.made += 1
        own = {info.name for info in program.arrays}
        others = {name: array for name, array in inputs.items() if name not in own}
        return {**self._inner.infer({**others, program.input: on_cpu.input}), **results}

    def __getattr__(self, name: str):
        return getattr(self._inner, name)


def served(role: str, preprocess: str, wrong: str = "") -> ServedModel:
    bundle = find_bundle(f"bev_lite/{role}", installed_model_folders())
    inner = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    backend = WithKernels(inner, wrong)
    loaded = LoadedModel(
        bundle=bundle, backend=backend, info=inner.describe(), preprocess=preprocess
    )
    return ServedModel.build(encoders()[role], loaded)


def run(model: ServedModel, frame, geometry: Geometry) -> EncoderOutput:
    inputs = model.encoder.preprocess(frame, geometry)
    return model.encoder.postprocess(model.encoder.infer(inputs), frame, geometry)


def image(size: tuple[int, int], seed: int) -> ImageFrame:
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    return ImageFrame(stamp_ns=1, frame_id="camera", bgr=noise)


def sweep(points: int, seed: int) -> PointCloud:
    rng = np.random.default_rng(seed)
    xyz = rng.uniform((-20, -20, -0.1), (45, 20, 0.1), (points, 3))
    xyz[::3, 2] += rng.uniform(0, 3, len(xyz[::3]))
    intensity = rng.random(points).astype(np.float32)
    return PointCloud(
        stamp_ns=1, frame_id="lidar", xyz_m=xyz.astype(np.float32), intensity=intensity
    )


def compare(got: EncoderOutput, expected: EncoderOutput) -> None:
    assert got.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        np.testing.assert_allclose(got.tensors[name], tensor, atol=1e-4, err_msg=name)
    assert len(got.objects) == len(expected.objects)


def test_a_camera_gives_the_same_with_images_of_any_size():
    on_device, on_cpu = served("camera", "auto"), served("camera", "cpu")
    geometry = Geometry(T_base_sensor=LOOKS_AHEAD, intrinsics=INTRINSICS, image_size=(640, 360))
    for seed, size in enumerate([(640, 360), (640, 360), (320, 180)]):
        frame = image(size, seed)
        compare(run(on_device, frame, geometry), run(on_cpu, frame, geometry))
    backend = on_device.loaded.backend
    assert (backend.programs, backend.made) == (3, 3), "one at the start, one for each size"
    assert on_device.notes == on_cpu.notes == ()
    assert on_cpu.loaded.backend.programs == 0


def test_a_lidar_gives_the_same_with_sweeps_of_any_length():
    on_device, on_cpu = served("lidar", "gpu"), served("lidar", "cpu")
    geometry = Geometry(T_base_sensor=np.eye(4), pose_source="parameter")
    for seed, points in enumerate([30_000, 0, 70_000, 20_000]):
        frame = sweep(points, seed)
        got, expected = (run(model, frame, geometry) for model in (on_device, on_cpu))
        compare(got, expected)
        np.testing.assert_array_equal(
            got.tensors["obstacle_points"], expected.tensors["obstacle_points"]
        )
    backend = on_device.loaded.backend
    assert (backend.programs, backend.made) == (2, 4), "one at the start, one with more room"


def test_encoders_that_take_turns_on_one_session_each_run_their_own():
    first, frame = served("lidar", "auto"), sweep(5000, 0)
    again = ServedModel.build(encoders()["lidar"], first.loaded)
    longer = sweep(80_000, 1)
    for _ in range(2):
        compare(run(first, longer, Geometry()), run(served("lidar", "cpu"), longer, Geometry()))
        compare(run(again, frame, Geometry()), run(served("lidar", "cpu"), frame, Geometry()))
    assert first.notes == again.notes == ()


@pytest.mark.parametrize("role", ["camera", "lidar"])
def test_the_cpu_serves_where_kernels_do_not_and_says_why(role):
    model = served(role, "auto", wrong="NVRTC cannot be used: no libnvrtc")
    frame = image((640, 360), 0) if role == "camera" else sweep(1000, 0)
    geometry = Geometry(T_base_sensor=LOOKS_AHEAD, intrinsics=INTRINSICS, image_size=(640, 360))
    for _ in range(3):
        compare(run(model, frame, geometry), run(served(role, "cpu"), frame, geometry))
    assert model.notes == ("preprocessing runs on the CPU: NVRTC cannot be used: no libnvrtc",)
    assert model.loaded.backend.programs == 1, "what failed is not tried with each frame"


@pytest.mark.parametrize(("asked", "told"), [("auto", 0), ("gpu", 1)])
def test_a_modality_without_kernels(asked, told):
    model = served("audio", asked)
    assert model.device is None
    assert len(model.notes) == told


def test_where_frames_become_inputs():
    with_kernels = BackendSpec(name="with", load=None, runs_programs=True)
    without = BackendSpec(name="without", load=None)

    def of(preprocess: str, runtime: BackendSpec, *, shares: bool = False) -> tuple[str, str]:
        options = ModelOptions(model="m", preprocess=preprocess)
        return _preprocess(options, runtime, shares=shares)

    assert of("auto", with_kernels) == ("auto", "")
    assert of("gpu", with_kernels) == ("gpu", "")
    assert of("cpu", with_kernels) == ("cpu", "")
    assert of("auto", without) == ("cpu", "")
    assert of("auto", with_kernels, shares=True) == ("cpu", "")
    assert of("gpu", without)[1].endswith("the runtime without has no kernels for it")
    assert of("gpu", with_kernels, shares=True)[1].endswith("batch is on")


@pytest.mark.parametrize(("wrong", "where"), [("", "gpu"), ("no memory", "cpu")])
def test_diagnostics_say_where_frames_become_inputs(wrong, where):
    clock = FakeClock(steady_ns=10**9)
    pipeline = EncoderPipeline(
        source="lidar",
        spec=encoders()["lidar"],
        model=served("lidar", "auto", wrong),
        geometry=Geometry(),
        clock=clock,
    )
    health = EncoderHealth(started=clock.now()).judge(
        pipeline=pipeline, limits=HealthLimits(), topics="lidar/points", now=clock.now()
    )
    assert health.values["preprocess"] == where
    assert health.values.get(NOT_AS_ASKED, "").endswith(wrong)
    assert (NOT_AS_ASKED in health.values) == bool(wrong)


@pytest.mark.parametrize(("at_once", "told"), [(10, True), (3, True), (2, False), (1, False)])
def test_messages_that_come_in_bursts_are_told_from_a_slow_encoder(at_once, told):
    clock = FakeClock(steady_ns=10**9)
    pipeline = EncoderPipeline(
        source="lidar",
        spec=encoders()["lidar"],
        model=served("lidar", "auto", ""),
        geometry=Geometry(),
        clock=clock,
    )
    evidence = EncoderHealth(started=clock.now())
    for index in range(1, 101):
        if index % at_once == 0:  # all that were taken since come at once
            clock.advance(0.1 * at_once)
            for _ in range(at_once):
                evidence.on_message(clock.now())
                clock.advance(0.0005)
            good = Feature(
                stamp_ns=clock.now().node_ns,
                frame_id="lidar",
                source="lidar",
                modality="lidar",
                model=ModelVersion(role="lidar", name="m", version="1", sha256=""),
                sequence=index,
            )
            evidence.on_feature(good, clock.now())
    clock.advance(0.3)
    health = evidence.judge(
        pipeline=pipeline, limits=HealthLimits(), topics="lidar/points", now=clock.now()
    )
    assert health.message.startswith("no usable frame for 0.30 s > 0.22 s")
    assert ("messages come in bursts" in health.message) is told
    assert (health.values.get("arrival") == "in bursts") is told
    for wait_s, in_bursts in ((0.3, told), (9.0, False)):  # between two, and after the last one
        clock.advance(wait_s)
        health = evidence.judge(
            pipeline=pipeline, limits=HealthLimits(), topics="lidar/points", now=clock.now()
        )
        assert health.message.startswith("no message on lidar/points for ")
        assert ("messages come in bursts" in health.message) is in_bursts


def test_fusion_says_that_it_has_no_kernels():
    loaded = served("lidar", "gpu").loaded
    health = with_runtime(Health(level=Level.OK, message="fine"), loaded)
    assert health.level == Level.WARN
    assert "preprocess gpu is not used" in health.message
