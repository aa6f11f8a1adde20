"""A camera with its real model, servers of that model, and a route between them."""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from kserve_server import Server
from numpy.typing import NDArray

from edge_perception.backends import BackendOptions, backends, load_model_bytes
from edge_perception.backends.kserve.tensors import DATATYPES
from edge_perception.core.clock import FakeClock
from edge_perception.core.share import share_file
from edge_perception.core.types import DetectedObject, Feature, Geometry, ImageFrame, ImageObject
from edge_perception.encoders import encoders
from edge_perception.fleet.cloud.crops import CropCutter
from edge_perception.fleet.cloud.options import CROPS, CloudOptions, parsed_tiers
from edge_perception.fleet.cloud.privacy import PrivacyFilter
from edge_perception.fleet.cloud.route import CloudRoute, Doubtful
from edge_perception.fleet.cloud.tier import make_tiers
from edge_perception.models.golden import read_golden
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.models.triton_repository import stated_by

SPEC = encoders()["camera"]
SIZE = (320, 240)
# Ahead of the vehicle, looking forward: optical z is x of the base frame.
T_BASE_CAMERA = np.array([[0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1.6], [0, 0, 0, 1]], float)
GEOMETRY = Geometry(
    T_base_sensor=T_BASE_CAMERA,
    pose_source="parameter",
    intrinsics=np.array([[300.0, 0, 160], [0, 300.0, 120], [0, 0, 1]]),
    image_size=SIZE,
)
START_NS = FakeClock().now().node_ns


@functools.cache
def bundle() -> Bundle:
    return load_bundle(share_file("models/bev_lite/camera"))


@functools.cache
def model() -> Any:
    path = bundle().model_path
    return load_model_bytes(backends()["onnxruntime"], path.read_bytes(), path, BackendOptions())


def metadata(of: Bundle, **stated: str | None) -> dict[str, Any]:
    """What a server of a bundle says; `stated` changes what it states, None: it does not."""
    manifest = of.manifest
    told = {**stated_by(of), **stated}
    tensors = {
        kind: [
            {"name": s.name, "datatype": DATATYPES[s.dtype], "shape": list(s.shape)} for s in specs
        ]
        for kind, specs in (("inputs", manifest.inputs), ("outputs", manifest.outputs))
    }
    parameters = {name: value for name, value in told.items() if value is not None}
    return {"name": manifest.name, "versions": ["1"], **tensors, "parameters": parameters}


def server(**stated: str | None) -> Server:
    """A server that runs the camera's real model."""
    return Server(metadata=metadata(bundle(), **stated), compute=lambda i: model().infer(i))


@functools.cache
def scene() -> NDArray[np.int16]:
    """The picture of the golden inputs, in which the model finds something."""
    told = bundle().manifest.preprocessing
    image = read_golden(bundle())[0]["images"][0].transpose(1, 2, 0)
    bgr = (image + np.array(told["mean"])) / told["scale"]
    return cv2.resize(bgr.astype(np.float32), SIZE).astype(np.int16)


def frame(stamp_ns: int = START_NS, seed: int = 0) -> ImageFrame:
    """A picture whose pixels differ from those of its neighbours and of other seeds."""
    noise = np.random.default_rng(seed).integers(-12, 13, (SIZE[1], SIZE[0], 3))
    bgr = np.clip(scene() + noise, 0, 255).astype(np.uint8)
    return ImageFrame(stamp_ns=stamp_ns, frame_id="camera", bgr=bgr)


def box(name: str = "car", score: float = 0.5, *, ahead_m: float = 10.0) -> DetectedObject:
    return DetectedObject(
        class_name=name,
        score=score,
        center_m=(ahead_m, 0.0, 0.8),
        size_m=(4.0, 1.8, 1.6),
        yaw_rad=0.0,
    )


def flat(name: str, x0: float, y0: float, x1: float, y1: float) -> ImageObject:
    return ImageObject(class_name=name, score=0.5, x_min=x0, y_min=y0, x_max=x1, y_max=y1)


def feature(stamp_ns: int = START_NS, objects=None, **more: Any) -> Feature:
    return Feature(
        stamp_ns=stamp_ns,
        frame_id="camera",
        source="camera",
        modality="camera",
        model=bundle().version_for("camera"),
        sequence=1,
        objects=(box(),) if objects is None else tuple(objects),
        **more,
    )


class Route:
    """A route on a clock of its own; what it hands over is in `late`."""

    def __init__(self, *tiers: str, fixed: Bundle | None = None, **options: Any) -> None:
        self.clock = FakeClock()
        self.late: list[Any] = []
        self.errors: list[Exception] = []
        given = {"privacy": "none", "doubt_bits": 0.7, "cache_s": 0.0, **options}
        self.options = CloudOptions(tiers=tiers, **given)
        self.tiers = make_tiers(
            parsed_tiers(tiers),
            SPEC,
            lambda _name: fixed,
            steady_s=lambda: self.clock.now().steady_ns / 1e9,
            compressed=self.options.send == CROPS,
        )
        self.route = CloudRoute(
            self.options,
            SPEC,
            self.tiers,
            PrivacyFilter(self.options, has_images=True),
            CropCutter(self.options, SPEC),
            clock=self.clock,
            sink=self.late.append,
            on_error=self.errors.append,
        )

    def handle(self, seed: int = 0, geometry: Geometry = GEOMETRY, **more: Any) -> str:
        """Let a doubtful frame of now be asked about, in this thread."""
        stamp_ns = self.clock.now().node_ns
        serving = more.pop("serving", bundle())
        asked = Doubtful(
            frame=replace(more.pop("frame", frame(seed=seed)), stamp_ns=stamp_ns),
            feature=feature(stamp_ns, **more),
            geometry=geometry,
            bundle=serving,
            bits=1.0,
        )
        return self.route.handle(asked)

    def offer(self, **more: Any) -> None:
        stamp_ns = self.clock.now().node_ns
        self.route.offer(frame(stamp_ns), feature(stamp_ns, **more), GEOMETRY, bundle())

    def wait(self, condition, what: str, timeout_s: float = 60.0) -> None:
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end_s, f"not within {timeout_s} s: {what}"
            time.sleep(0.005)

    def close(self) -> None:
        self.route.stop()
        for tier in self.tiers:
            tier.close()


def other_release(of: Bundle, **changes: str) -> Bundle:
    """The same bundle under another version or feature space."""
    return replace(of, manifest=replace(of.manifest, **changes), sha256="f" * 64)
