import json
from array import array

import numpy as np
import pytest
from audio_messages import audio_data_stamped, audio_info, blocks, chunk, header, tone

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import InvalidFrameError, InvalidOutputError, ManifestError
from edge_perception.core.types import Geometry
from edge_perception.encoders import encoders
from edge_perception.encoders.audio.clip import read_wav, run_blocks
from edge_perception.encoders.audio.encoder import AudioEncoder, AudioIntake
from edge_perception.models.adapters.yamnet import PREPROCESSING
from edge_perception.models.manifest import parse_manifest

PATCH = (20, 8)


def make_manifest(*, inputs=None, preprocessing=None):
    return parse_manifest(
        json.dumps(
            {
                "schema_version": 1,
                "name": "loudness",
                "role": "audio",
                "version": "1.0.0",
                "adapter": "audio_tagger",
                "files": {"model.onnx": {"sha256": "0", "size": 1}},
                "inputs": inputs
                or [{"name": "patch", "dtype": "float32", "shape": [1, 1, *PATCH]}],
                "outputs": [{"name": "scores", "dtype": "float32", "shape": [1, 2]}],
                "preprocessing": {
                    **PREPROCESSING,
                    "patch_frames": PATCH[0],
                    "mel_bins": PATCH[1],
                    **(preprocessing or {}),
                },
                "postprocessing": {
                    "scores": "scores",
                    "activation": "sigmoid",
                    "events": {"loud": {"labels": ["loud"]}},
                },
                "labels": ["quiet", "loud"],
                "features": {"embedding": "scores"},
                "runtime": {"opset": 13},
                "provenance": {"licence": "Apache-2.0"},
            }
        )
    )


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    """A real session: the mean of the patch as score of `loud`, its negative as `quiet`."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["patch"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("Neg", ["mean"], ["quiet"]),
            helper.make_node("Concat", ["quiet", "mean"], ["scores"], axis=1),
        ],
        "loudness",
        [helper.make_tensor_value_info("patch", onnx.TensorProto.FLOAT, [1, 1, *PATCH])],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 2])],
    )
    path = tmp_path_factory.mktemp("loudness") / "model.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        str(path),
    )
    return backends()["onnxruntime"].load(path, BackendOptions())


def test_the_modality_is_found():
    spec = encoders()["audio"]
    assert (spec.make_intake, spec.make_encoder) == (AudioIntake, AudioEncoder)
    topic = spec.topics[0]
    assert (topic.topic, topic.type) == ("audio", "edge_perception/msg/AudioChunk")
    assert (topic.reliable, topic.depth, topic.optional) == (True, 50, False)
    assert all(other.optional for other in spec.topics[1:])


def test_the_stages_lead_from_chunks_to_events_and_features(backend):
    manifest = make_manifest()
    intake, encoder = AudioIntake(manifest), AudioEncoder(manifest, backend)
    samples = np.zeros(16_000)
    samples[8000:] = np.random.default_rng(0).normal(0, 0.3, 8000)
    stored = (samples * 32767).astype("<i2")
    heard = []
    for first in range(0, 16_000, 1600):
        message = chunk(
            data=array("B", stored[first : first + 1600].tobytes()),
            first_sample_index=first,
            header=header(5_000_000_000 + first * 62_500),
        )
        item = intake.accept(message)
        if item is None:
            continue
        frame = intake.frame(item)
        inputs = encoder.preprocess(frame, Geometry())
        assert inputs["patch"].shape == (1, 1, *PATCH)
        outputs = encoder.infer(inputs)
        output = encoder.postprocess(outputs, frame, Geometry())
        np.testing.assert_array_equal(output.tensors["embedding"], outputs["scores"])
        heard += [(e.class_name, e.window_end_ns > 5_500_000_000) for e in output.sound_events]
    assert heard
    assert set(heard) == {("loud", True)}


def test_a_bad_chunk_is_refused_once_and_the_next_starts_anew():
    intake = AudioIntake(make_manifest())
    for block in blocks(tone(1.0)):
        intake.accept(block)
    with pytest.raises(InvalidFrameError, match="format"):
        intake.accept(chunk(bytes(3200), format="aac", first_sample_index=16_000))
    after = chunk(bytes(2 * 4000), first_sample_index=17_600, header=header(77_000_000_000))
    window = intake.accept(after)
    assert window.window_start_ns == 77_000_000_000
    assert intake.describe()["gaps"] == "0"


def test_diagnostics_say_drift_jitter_and_gaps():
    intake = AudioIntake(make_manifest())
    for block in blocks(tone(7.0)):
        intake.accept(block)
    said = encoders()["audio"].describe_intake(intake)
    assert float(said["clock_drift_ppm"]) == pytest.approx(0.0, abs=0.1)
    assert float(said["stamp_jitter_ms"]) == pytest.approx(0.0, abs=0.01)
    assert said["gaps"] == said["repeated_samples"] == said["skipped_windows"] == "0"
    samples = tone(1.0)
    intake = AudioIntake(make_manifest())
    for block in blocks(samples, block=16_000):  # a second at once holds more than one window
        intake.accept(block)
    assert int(encoders()["audio"].describe_intake(intake)["skipped_windows"]) > 0


def test_an_audio_info_is_no_frame():
    assert AudioIntake(make_manifest()).accept(audio_info()) is None


def test_sound_before_the_first_audio_info_is_left_out_and_refused_where_none_comes():
    intake = AudioIntake(make_manifest())
    s, sound = 1_000_000_000, bytes(3200)
    assert intake.accept(audio_data_stamped(sound, 5 * s)) is None
    assert intake.accept(audio_data_stamped(sound, 5 * s + s // 10)) is None
    with pytest.raises(InvalidFrameError, match="expects an AudioInfo message before it"):
        intake.accept(audio_data_stamped(sound, 5 * s + s // 2))
    intake.accept(audio_info())
    assert intake.accept(audio_data_stamped(sound, 6 * s)) is None  # a window fills up
    assert intake.describe()["gaps"] == "0"


def test_an_output_with_nan_is_refused(backend):
    encoder = AudioEncoder(make_manifest(), backend)
    patch = np.full((1, 1, *PATCH), np.nan, np.float32)
    with pytest.raises(
        InvalidOutputError, match="loudness: output 'scores' has 2 of 2 values that are NaN"
    ):
        encoder.infer({"patch": patch})


@pytest.mark.parametrize(
    "inputs",
    [
        [{"name": "patch", "dtype": "float32", "shape": [1, 20, 9]}],
        [{"name": "patch", "dtype": "float32", "shape": [2, 20, 8]}],
        [{"name": "patch", "dtype": "float64", "shape": [1, 20, 8]}],
        [
            {"name": "patch", "dtype": "float32", "shape": [1, 20, 8]},
            {"name": "more", "dtype": "float32", "shape": [1]},
        ],
    ],
)
def test_a_graph_that_takes_no_patch_is_refused(backend, inputs):
    with pytest.raises(ManifestError, match=r"inputs: expected one of shape .*20, 8.*got 'patch'"):
        AudioEncoder(make_manifest(inputs=inputs), backend)


HISTORY = {"history_frames": 12, "history_input": "before"}


def two_inputs(axes=PATCH, before=(12, PATCH[1])):
    return [
        {"name": "before", "dtype": "float32", "shape": [1, 1, *before]},
        {"name": "patch", "dtype": "float32", "shape": [1, 1, *axes]},
    ]


@pytest.mark.parametrize("layout", ["time_mel", "mel_time"])
def test_a_model_that_listens_for_longer_gets_what_was_before_the_patch(backend, layout):
    turned = layout == "mel_time"
    order = slice(None, None, -1 if turned else 1)
    manifest = make_manifest(
        inputs=two_inputs(PATCH[order], (12, PATCH[1])[order]),
        preprocessing={**HISTORY, "layout": layout, "patch_hop_frames": 10},
    )
    intake, encoder = AudioIntake(manifest), AudioEncoder(manifest, backend)
    patches, histories = [], []
    for block in blocks(np.random.default_rng(2).normal(0, 0.1, 16_000).astype(np.float32)):
        item = intake.accept(block)
        if item is not None:
            given = encoder.preprocess(intake.frame(item), Geometry())
            assert sorted(given) == ["before", "patch"]
            both = {n: a[0, 0].T.copy() if turned else a[0, 0].copy() for n, a in given.items()}
            patches.append(both["patch"])
            histories.append(both["before"])
    assert len(patches) > 3
    np.testing.assert_allclose(histories[0], np.log(0.001), rtol=1e-6)
    np.testing.assert_allclose(histories[1][2:], patches[0][:10], atol=1e-5)
    np.testing.assert_allclose(histories[3], np.concatenate([patches[1][8:10], patches[2][:10]]),
                               atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("inputs", [two_inputs()[1:], two_inputs(before=(11, PATCH[1]))])
def test_a_graph_without_the_input_of_the_history_is_refused(backend, inputs):
    with pytest.raises(ManifestError, match=r"expected one of shape .*12, 8.*history_frames"):
        AudioEncoder(make_manifest(inputs=inputs, preprocessing=HISTORY), backend)


def test_preprocessing_is_checked_by_field():
    with pytest.raises(
        ManifestError, match=r"loudness: manifest\.preprocessing\.hop_s: expected 0.001 to 1"
    ):
        AudioIntake(make_manifest(preprocessing={"hop_s": 0.0}))


def write_wav(path, samples, *, rate_hz=8000, width=2):
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())


def test_a_wav_becomes_blocks(tmp_path):
    stored = np.arange(-1000, 1000, dtype="<i2").reshape(1000, 2)
    write_wav(tmp_path / "a.wav", stored)
    given = list(read_wav(tmp_path / "a.wav", start_ns=10**9, pad_s=0.05))
    assert [b.first_sample_index for b in given] == [0, 800, 1600]
    assert given[0].stamp_ns == 10**9 - 50_000_000
    samples = np.concatenate([b.samples for b in given])
    np.testing.assert_allclose(samples[400:-400] * 32767, stored, atol=1e-3)
    assert not samples[:400].any()


def test_what_is_no_16_bit_wav_is_refused(tmp_path):
    write_wav(tmp_path / "wide.wav", np.zeros((4, 1), "<i4"), width=4)
    with pytest.raises(InvalidFrameError, match=r"wide.wav: expected 16-bit samples, got 32-bit"):
        list(read_wav(tmp_path / "wide.wav"))
    (tmp_path / "text.wav").write_text("no wav")
    with pytest.raises(InvalidFrameError, match=r"text.wav: expected a PCM wav"):
        list(read_wav(tmp_path / "text.wav"))


def test_a_clip_runs_in_lock_step(backend):
    manifest = make_manifest()
    windows = list(
        run_blocks(AudioEncoder(manifest, backend), AudioIntake(manifest), blocks(tone(1.0)))
    )
    assert [w.window_start_ns for w in windows] == sorted(w.window_start_ns for w in windows)
    assert len(windows) == 8
