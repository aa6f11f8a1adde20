"""An encoder, a runtime or an adapter may be anybody's code: its frame says so, the next is served.

Of a real model, in the pipeline of its source.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from lidar_messages import cloud_msg

from edge_perception.core.clock import FakeClock
from edge_perception.core.types import Geometry
from edge_perception.encoders import encoders
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.serving import ServedModel
from edge_perception.models.loading import ModelOptions
from edge_perception.releases.loading import load_model

SPEC = encoders()["lidar"]


@pytest.fixture
def pipeline():
    loaded = load_model(ModelOptions(model=SPEC.default_model), role="lidar", name="")
    pipeline = EncoderPipeline(
        source="lidar",
        spec=SPEC,
        model=ServedModel.build(SPEC, loaded),
        geometry=Geometry(pose_source="parameter"),
        clock=FakeClock(node_ns=10**9, steady_ns=10**9),
    )
    yield pipeline
    loaded.backend.close()


def feature_of(pipeline):
    rng = np.random.default_rng(time.monotonic_ns())
    points = rng.uniform(-20.0, 20.0, (4, 3000)) * [[1.0], [1.0], [0.05], [0.0]]
    cloud = cloud_msg(dict(zip(("x", "y", "z", "intensity"), points, strict=True)))
    now = pipeline._clock.advance(0.1)
    return pipeline.process(pipeline.accept(cloud, now.node_ns, "lidar", now))


@pytest.mark.parametrize("stage", ["preprocess", "infer", "postprocess"])
def test_a_stage_that_raises_what_it_likes_gives_a_feature_that_says_so(pipeline, stage):
    errors = []
    pipeline.failed = errors.append
    assert feature_of(pipeline).valid
    encoder = pipeline.model.encoder
    works = getattr(encoder, stage)

    def fails(*_):
        raise IndexError("index 7 is out of bounds")

    setattr(encoder, stage, fails)
    feature = feature_of(pipeline)
    assert feature is not None
    assert feature.invalid_reason == "lidar: IndexError: index 7 is out of bounds"
    assert [str(error) for error in errors] == ["index 7 is out of bounds"]
    assert pipeline.refused == feature.refused == 1
    setattr(encoder, stage, works)
    assert feature_of(pipeline).valid


def test_an_adapter_that_fails_is_named(pipeline):
    def fails(_outputs, _context):
        return {}["boxes"]

    pipeline.model.encoder._decoder = fails
    feature = feature_of(pipeline)
    assert feature.invalid_reason.startswith(
        "lidar: adapter 'bev_center': KeyError: 'boxes' (test_code_that_fails.py:"
    )
