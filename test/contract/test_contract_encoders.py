"""Every modality that is found keeps the contract of encoders, with the model it comes with."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from modality_messages import STIMULI

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import EdgePerceptionError, InvalidFrameError, InvalidOutputError
from edge_perception.core.types import DetectedObject, ImageObject, SoundEvent
from edge_perception.encoders import EncoderOutput, EncoderSpec, encoders, modality_of
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.manifest import Bundle

MODALITIES = sorted(encoders().specs)


def test_every_modality_was_found() -> None:
    assert encoders().failures == {}
    assert set(MODALITIES) >= {"camera", "lidar", "audio"}


@pytest.mark.parametrize("modality", MODALITIES)
def test_spec(modality: str) -> None:
    spec = encoders()[modality]
    assert isinstance(spec, EncoderSpec)
    assert spec.modality == modality
    assert modality_of(f"{modality}_rear") == modality
    assert spec.topics
    for topic in (*spec.topics, *filter(None, [spec.calibration])):
        assert not topic.topic.startswith("/"), "names are relative, so that they can be remapped"
        package, kind, name = topic.type.split("/")
        assert (package != "", kind, name[0].isupper()) == (True, "msg", True)
        assert topic.depth >= 1
    assert 0 < spec.rate_hz <= 1000
    assert (spec.calibration is None) == (spec.read_calibration is None)
    assert modality in STIMULI, "a new modality needs messages in modality_messages.py"


@cache
def default_bundle(modality: str) -> Bundle:
    name = encoders()[modality].default_model
    try:
        return find_bundle(name, installed_model_folders())
    except EdgePerceptionError as error:
        pytest.skip(f"model {name} is not installed: {error}")


@pytest.fixture(params=MODALITIES)
def modality(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def bundle(modality: str) -> Bundle:
    return default_bundle(modality)


@pytest.fixture
def encoder(modality: str, bundle: Bundle) -> Any:
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    yield encoders()[modality].make_encoder(bundle.manifest, backend)
    backend.close()


def frames(modality: str, bundle: Bundle) -> list[Any]:
    intake = encoders()[modality].make_intake(bundle.manifest)
    items = [intake.accept(message) for message in STIMULI[modality].good()]
    return [intake.frame(item) for item in items if item is not None]


def two_frames(modality: str, bundle: Bundle) -> tuple[Any, Any]:
    """Two frames that can be held at a time: an intake may overwrite its own."""
    last = frames(modality, bundle)[-1]
    intake = encoders()[modality].make_intake(bundle.manifest)
    items = (intake.accept(message) for message in STIMULI[modality].good())
    return next(intake.frame(item) for item in items if item is not None), last


def test_default_model_is_of_the_modality(modality: str, bundle: Bundle) -> None:
    assert bundle.manifest.role == modality
    assert bundle.manifest.features, "fusion needs a feature"


def test_intake_makes_frames(modality: str, bundle: Bundle) -> None:
    assert len(frames(modality, bundle)) >= 2


def test_intake_refuses_and_goes_on(modality: str, bundle: Bundle) -> None:
    intake = encoders()[modality].make_intake(bundle.manifest)
    for message in STIMULI[modality].bad():
        with pytest.raises(InvalidFrameError) as refusal:
            intake.frame(intake.accept(message))
        assert len(str(refusal.value)) > 10
    items = [intake.accept(message) for message in STIMULI[modality].good()]
    assert any(item is not None for item in items)


def test_stages_fit_each_other(modality: str, bundle: Bundle, encoder: Any) -> None:
    manifest, geometry = bundle.manifest, STIMULI[modality].geometry
    for frame in frames(modality, bundle):
        inputs = encoder.preprocess(frame, geometry)
        assert {n: (a.shape, str(a.dtype)) for n, a in inputs.items()} == {
            spec.name: (spec.shape, spec.dtype) for spec in manifest.inputs
        }
        assert all(np.isfinite(array).all() for array in inputs.values())
        outputs = encoder.infer(inputs)
        result = encoder.postprocess(outputs, frame, geometry)
        assert isinstance(result, EncoderOutput)
        assert set(result.tensors) >= set(manifest.features)
        for name, output in manifest.features.items():
            np.testing.assert_array_equal(result.tensors[name], outputs[output])
        for kind, items in (
            (DetectedObject, result.objects),
            (ImageObject, result.image_objects),
            (SoundEvent, result.sound_events),
        ):
            assert isinstance(items, tuple)
            assert all(isinstance(item, kind) and 0 <= item.score <= 1 for item in items)


def test_the_same_frame_gives_the_same_answer(modality: str, bundle: Bundle, encoder: Any) -> None:
    """Buffers that are used again carry nothing over from the frame between."""
    geometry = STIMULI[modality].geometry
    first, second = two_frames(modality, bundle)

    def inputs_of(frame: Any) -> dict[str, np.ndarray]:
        return {name: array.copy() for name, array in encoder.preprocess(frame, geometry).items()}

    before = inputs_of(first)
    changed = inputs_of(second)
    again = inputs_of(first)
    assert any(not np.array_equal(before[name], changed[name]) for name in before)
    for name in before:
        np.testing.assert_array_equal(again[name], before[name])


def test_tensors_outlive_the_next_frame(modality: str, bundle: Bundle, encoder: Any) -> None:
    """Features are handed over by reference where all nodes share a process."""
    geometry = STIMULI[modality].geometry
    first, second = two_frames(modality, bundle)

    def run(frame: Any) -> EncoderOutput:
        return encoder.postprocess(
            encoder.infer(encoder.preprocess(frame, geometry)), frame, geometry
        )

    kept = run(first).tensors
    copies = {name: tensor.copy() for name, tensor in kept.items()}
    run(second)
    for name, tensor in kept.items():
        np.testing.assert_array_equal(tensor, copies[name])


class NanBackend:
    """Every output is NaN, as from a model with broken weights."""

    def __init__(self, bundle: Bundle) -> None:
        self._outputs = bundle.manifest.outputs

    def infer(self, inputs: Any) -> dict[str, np.ndarray]:
        return {spec.name: np.full(spec.shape, np.nan, spec.dtype) for spec in self._outputs}


def test_nan_of_the_model_is_refused(modality: str, bundle: Bundle) -> None:
    encoder = encoders()[modality].make_encoder(bundle.manifest, NanBackend(bundle))
    frame = frames(modality, bundle)[0]
    with pytest.raises(InvalidOutputError, match="NaN"):
        encoder.infer(encoder.preprocess(frame, STIMULI[modality].geometry))
