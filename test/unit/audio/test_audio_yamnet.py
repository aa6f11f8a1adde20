import shutil

import numpy as np
import pytest
from audio_messages import blocks, tone

from edge_perception.core.errors import ModelError
from edge_perception.encoders.audio.clip import read_wav, run_blocks
from edge_perception.models.adapters.yamnet import CLASS_MAP_NAME, EVENTS, describe, read_class_map
from edge_perception.releases.importing import import_model

WARNINGS = {"siren", "car_horn"}


def run_clip(encoder, intake, wav, *, pad_s=0.0):
    """Sound events of a file; each asks for a fresh intake and encoder."""
    windows = run_blocks(encoder, intake, read_wav(wav, pad_s=pad_s))
    return [event for window in windows for event in window.sound_events]


def centers_s(events, name):
    return [(e.window_start_ns + e.window_end_ns) / 2e9 for e in events if e.class_name == name]


def top_label(yamnet, bundle, samples):
    encoder, intake = yamnet
    (last,) = list(run_blocks(encoder, intake, blocks(samples)))[-1:]
    scores = last.outputs[bundle.manifest.postprocessing["scores"]][0]
    return bundle.manifest.labels[int(scores.argmax())]


def test_description_names_labels_and_embedding(yamnet_bundle):
    manifest = yamnet_bundle.manifest
    assert len(manifest.labels) == 521
    assert manifest.labels[302] == "Vehicle horn, car horn, honking"
    assert {manifest.labels[i] for i in (316, 317, 318, 390)} <= set(EVENTS["siren"][0])
    shapes = {spec.name: spec.shape for spec in manifest.outputs}
    assert shapes[manifest.features["embedding"]] == (1, 1024)


def test_the_embedding_is_what_the_classifier_reads(yamnet, yamnet_bundle):
    encoder, intake = yamnet
    windows = list(run_blocks(encoder, intake, blocks(tone(2.0))))
    embedding = windows[-1].outputs[yamnet_bundle.manifest.features["embedding"]]
    assert embedding.min() >= 0.0  # average of values after a ReLU6
    assert 0.0 < embedding.max() <= 6.0


@pytest.mark.parametrize(
    ("samples", "labels"),
    [
        (np.zeros(32_000), {"Silence"}),
        (tone(2.0, frequency_hz=440.0, amplitude=0.9), {"Sine wave", "Chirp tone"}),
        (np.random.default_rng(0).uniform(-1, 1, 32_000), {"White noise", "Noise", "Static"}),
    ],
)
def test_plain_signals_get_the_classes_yamnet_is_published_with(
    yamnet, yamnet_bundle, samples, labels
):
    assert top_label(yamnet, yamnet_bundle, samples) in labels


def test_siren_and_horn_are_heard_when_they_sound(yamnet, audio_folder):
    events = run_clip(*yamnet, audio_folder / "siren_horn_voice.wav")
    siren, horn = centers_s(events, "siren"), centers_s(events, "car_horn")
    assert (
        sum(2.0 <= center <= 7.0 for center in siren) >= 35
    )  # of 50 windows; the horn covers it in between
    assert all(2.0 <= center <= 7.0 for center in siren)
    assert sum(5.0 <= center <= 5.7 for center in horn) >= 5
    assert all(5.0 <= center <= 5.7 for center in horn)
    assert all(center > 7.0 for center in centers_s(events, "speech"))


def test_the_same_through_a_stereo_card_at_44100_hz(yamnet, audio_folder):
    signal = pytest.importorskip("scipy.signal")
    samples = np.concatenate(
        [block.samples[:, 0] for block in read_wav(audio_folder / "siren_horn_voice.wav")]
    )
    samples = signal.resample_poly(samples, 441, 160)
    stereo = np.stack([samples, 0.5 * samples], axis=1)
    given = blocks(stereo, block=882, rate_hz=44_100, start_ns=0)
    events = [event for w in run_blocks(*yamnet, given) for event in w.sound_events]
    siren, horn = centers_s(events, "siren"), centers_s(events, "car_horn")
    assert len(siren) >= 35
    assert all(2.0 <= center <= 7.0 for center in siren)
    assert len(horn) >= 3
    assert all(5.0 <= center <= 5.7 for center in horn)


def test_a_horn_alone_is_heard(yamnet, audio_folder):
    events = run_clip(*yamnet, audio_folder / "car_horn.wav", pad_s=1.0)
    horn = [e for e in events if e.class_name == "car_horn"]
    assert max(e.score for e in horn) > 0.9
    for event in horn:  # every window reported overlaps the 0.69 s clip
        assert event.window_end_ns > 0
        assert event.window_start_ns < 690_000_000


@pytest.mark.parametrize("clip", ["street", "rain", "car_engine", "train"])
def test_no_siren_and_no_horn_where_there_is_none(yamnet, audio_folder, clip):
    heard = {e.class_name for e in run_clip(*yamnet, audio_folder / f"{clip}.wav")}
    assert not heard & WARNINGS


@pytest.mark.parametrize(("clip", "name"), [("rain", "rain"), ("train", "train")])
def test_other_sounds_are_heard(yamnet, audio_folder, clip, name):
    assert centers_s(run_clip(*yamnet, audio_folder / f"{clip}.wav"), name)


def test_another_graph_is_refused(yamnet_source, tmp_path):
    detector = yamnet_source.with_name("yolox_nano.onnx")
    if not detector.is_file():
        pytest.skip(f"no model: {detector}")
    with pytest.raises(ModelError, match=r"yolox_nano.onnx: input: expected one of shape"):
        describe(detector)


def test_missing_labels_and_a_short_class_map_are_refused(yamnet_source, tmp_path):
    model = tmp_path / "y.onnx"
    shutil.copy(yamnet_source, model)
    with pytest.raises(ModelError, match="expected class names, got none"):
        import_model(model, adapter="yamnet", into=tmp_path)
    (tmp_path / CLASS_MAP_NAME).write_text("index,mid,display_name\n0,/m/09x0r,Speech\n")
    with pytest.raises(ModelError, match="expected 521 classes, got 1"):
        read_class_map(tmp_path / CLASS_MAP_NAME)
