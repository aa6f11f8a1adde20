"""Load control of a camera whose driver sends its calibration with every frame."""

from __future__ import annotations

import numpy as np
from camera_messages import camera_info, image_msg

from edge_perception.core.clock import FakeClock
from edge_perception.core.types import Geometry
from edge_perception.encoders import encoders
from edge_perception.encoders.load import EncoderLoad, StandIns
from edge_perception.encoders.load_control import LoadOptions
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.serving import ServedModel
from edge_perception.models.loading import ModelOptions
from edge_perception.models.model_cache import ModelCache
from edge_perception.releases.loading import load_model

SPEC = encoders()["camera"]


def test_a_calibration_that_is_repeated_keeps_what_was_inferred_and_a_new_one_does_not() -> None:
    clock, period_ns = FakeClock(steady_ns=10**9, node_ns=10**9), 10**8
    loaded = load_model(ModelOptions(model=SPEC.default_model), role="camera")
    pipeline = EncoderPipeline(
        source="camera",
        spec=SPEC,
        model=ServedModel.build(SPEC, loaded),
        geometry=Geometry(pose_source="parameter"),
        clock=clock,
    )
    cache = ModelCache(
        limit_bytes=1,
        size_bytes=lambda _: 1,
        load=lambda _: loaded,
        release=lambda _: None,
        beside_bytes=lambda: 0,
    )
    options = LoadOptions(budget_ms=1.0, over_s=0.1, reuse_max_age_s=0.35)
    load = EncoderLoad(options, SPEC, StandIns(SPEC, cache), lambda _: None)
    pipeline.load = load
    rng = np.random.default_rng(3)
    scene = np.kron(rng.integers(40, 200, (6, 8, 1)), np.ones((8, 8, 3), np.int64))

    def frame(focal_px: float) -> bool:
        now = clock.advance(period_ns / 1e9)
        k = [focal_px, 0.0, 32.0, 0.0, focal_px, 24.0, 0.0, 0.0, 1.0]
        pipeline.place.calibrate(camera_info(k=k, p=[0.0] * 12, d=[], width=64, height=48))
        image = (scene + rng.integers(-1, 2, scene.shape)).astype(np.uint8)
        job = pipeline.accept(image_msg(image, "bgr8"), now.node_ns, "camera", now)
        clock.advance(0.005)
        feature = pipeline.process(job)
        assert feature is not None
        assert feature.valid, feature.invalid_reason
        return bool(feature.inferred_stamp_ns)

    try:
        same = [frame(60.0) for _ in range(24)]
        assert sum(same) >= 6, load.describe()["load_not_reused"]
        before = pipeline.place.calibrated
        frame(60.0)
        assert pipeline.place.calibrated is before
        changed = [frame(60.0 + number) for number in range(1, 9)]
        assert not any(changed), "each has another calibration"
        assert load.describe()["load_not_reused"] == "no frame of this model and pose yet"
    finally:
        load.stand_ins.close()
        loaded.backend.close()
