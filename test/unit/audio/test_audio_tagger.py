import numpy as np
import pytest

from edge_perception.core.errors import InvalidOutputError, ManifestError
from edge_perception.core.schema import decode
from edge_perception.models.adapters import adapters
from edge_perception.models.adapters.audio_tagger import EventRule, SoundContext, SoundDecoder
from edge_perception.models.manifest import Manifest

RULES = {
    "siren": {"labels": ["police", "ambulance"], "threshold": 0.5, "release": 0.3},
    "horn": {"labels": ["horn"], "threshold": 0.6},
}


def manifest(shape=(1, 4), **postprocessing):
    options = {"scores": "scores", "events": RULES, **postprocessing}
    return decode(
        Manifest,
        {
            "schema_version": 1,
            "name": "tagger",
            "role": "audio",
            "version": "1.0.0",
            "adapter": "audio_tagger",
            "files": {"model.onnx": {"sha256": "0", "size": 1}},
            "inputs": [{"name": "patch", "dtype": "float32", "shape": [1, 96, 64]}],
            "outputs": [{"name": "scores", "dtype": "float32", "shape": list(shape)}],
            "postprocessing": options,
            "labels": ["quiet", "police", "ambulance", "horn"],
            "runtime": {"opset": 13},
            "provenance": {"licence": "Apache-2.0"},
        },
        "manifest",
    )


def window(index=0, segment=1):
    return SoundContext(
        window_start_ns=index * 100, window_end_ns=index * 100 + 975, segment=segment
    )


def names(decoder, scores, context=None):
    outputs = {"scores": np.array(scores, np.float32)}
    return [e.class_name for e in decoder(outputs, context or window()).sound_events]


def test_both_adapters_are_found():
    assert adapters()["audio_tagger"].make_decoder is SoundDecoder
    assert adapters()["yamnet"].describe is not None


def test_an_event_has_the_best_score_of_its_labels_and_the_window():
    decoder = SoundDecoder(manifest())
    outputs = {"scores": np.array([[0.9, 0.2, 0.7, 0.1]], np.float32)}
    (event,) = decoder(outputs, window(3)).sound_events
    assert event.class_name == "siren"
    assert event.score == pytest.approx(0.7)
    assert (event.window_start_ns, event.window_end_ns) == (300, 1275)
    assert np.isnan(event.bearing_rad)


def test_the_best_patch_counts():
    decoder = SoundDecoder(manifest(shape=(2, 4)))
    assert names(decoder, [[0.0, 0.0, 0.0, 0.1], [0.0, 0.0, 0.0, 0.8]]) == ["horn"]


def test_an_event_goes_on_until_its_release():
    decoder = SoundDecoder(manifest())
    heard = [names(decoder, [[0, score, 0, 0]]) for score in (0.4, 0.6, 0.4, 0.31, 0.29, 0.4)]
    assert heard == [[], ["siren"], ["siren"], ["siren"], [], []]


def test_without_a_release_the_threshold_ends_it():
    decoder = SoundDecoder(manifest())
    heard = [names(decoder, [[0, 0, 0, score]]) for score in (0.7, 0.59, 0.6)]
    assert heard == [["horn"], [], ["horn"]]


def test_confirmation_wants_consecutive_windows():
    decoder = SoundDecoder(manifest(confirm_windows=2))
    heard = [bool(names(decoder, [[0, 0, 0, s]])) for s in (0.9, 0.1, 0.9, 0.9, 0.9, 0.1, 0.9)]
    assert heard == [False, False, False, True, True, False, False]


LASTING = {
    "siren": {"labels": ["police"], "threshold": 0.73, "release": 0.5, "mean_windows": 15},
    "horn": {"labels": ["horn"], "threshold": 0.6},
}


def lasting(decoder, scores, segment=1):
    return [
        "siren" in names(decoder, [[0, s, 0, 0]], window(i, segment)) for i, s in enumerate(scores)
    ]


def test_the_mean_over_windows_tells_what_lasts_from_what_is_brief():
    quiet, call = [0.01] * 20, [0.99] * 6
    brief = lasting(SoundDecoder(manifest(events=LASTING)), quiet + call + quiet[:7] + call + quiet)
    assert not any(brief)
    # By each window for itself either call is one.
    each = {**LASTING, "siren": {**LASTING["siren"], "mean_windows": 1}}
    rule = manifest(events=each, confirm_windows=3)
    assert sum(lasting(SoundDecoder(rule), quiet + call + quiet[:7] + call + quiet)) == 8
    heard = lasting(SoundDecoder(manifest(events=LASTING)), quiet + [0.99] * 15)
    # 10 windows at 3 and 5 at -3 are the first whose mean is 1, log-odds of 0.73.
    assert heard.index(True) - len(quiet) == 9
    assert all(heard[29:])


def test_the_mean_bridges_windows_that_miss_and_ends_soon_after_the_sound():
    decoder = SoundDecoder(manifest(events=LASTING))
    heard = lasting(decoder, [0.99] * 12 + [0.2] * 2 + [0.99] * 6 + [0.01] * 15)
    assert all(heard[3:20])
    assert heard.index(False, 3) - 20 <= 8


def test_a_stream_that_began_needs_a_quarter_of_the_windows():
    decoder = SoundDecoder(manifest(events=LASTING))
    assert lasting(decoder, [1.0] * 5) == [False] * 3 + [True] * 2
    assert lasting(decoder, [1.0] * 4, segment=2) == [False] * 3 + [True]


def test_the_score_of_a_mean_is_that_of_the_mean():
    decoder = SoundDecoder(manifest(events=LASTING))
    lasting(decoder, [0.9, 0.8, 0.9])
    outputs = {"scores": np.array([[0, 0.8, 0, 0]], np.float32)}
    (event,) = decoder(outputs, window(3)).sound_events
    odds = (np.log(9) + np.log(4)) / 2
    assert event.score == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-5)
    assert decoder.event_scores(outputs)["siren"] == pytest.approx(0.8)


@pytest.mark.parametrize("seed", range(4))
def test_hearing_tells_the_threshold_at_which_the_decoder_would(seed):
    pytest.importorskip("scipy", reason="no SciPy: the sounds of training are made with it")
    from training.hearing import held_mean

    scores = np.random.default_rng(seed).beta(0.5, 0.5, 40)
    rule = decode(EventRule, LASTING["siren"], "rule")
    highest = held_mean(scores, rule)
    assert 0.5 < highest < 1.0
    for threshold, told in ((highest - 1e-3, True), (highest + 1e-3, False)):
        events = {**LASTING, "siren": {**LASTING["siren"], "threshold": threshold, "release": 0.4}}
        assert any(lasting(SoundDecoder(manifest(events=events)), scores)) == told
    assert held_mean(scores[:3], rule) == 0.0  # too few


def test_an_interrupted_stream_starts_without_a_past():
    decoder = SoundDecoder(manifest())
    assert names(decoder, [[0, 0.6, 0, 0]]) == ["siren"]
    assert names(decoder, [[0, 0.4, 0, 0]], window(1)) == ["siren"]
    assert names(decoder, [[0, 0.4, 0, 0]], window(2, segment=2)) == []


@pytest.mark.parametrize(
    ("activation", "raw", "score"),
    [
        ("none", [0, 0.75, 0, 0], 0.75),
        ("sigmoid", [0, 2.0, -500.0, 0], 1 / (1 + np.exp(-2.0))),
        ("softmax", [1000.0, 1000.0, 0, 0], 0.5),
    ],
)
def test_activations(activation, raw, score):
    decoder = SoundDecoder(manifest(activation=activation))
    scores = decoder.event_scores({"scores": np.array([raw], np.float32)})
    assert scores["siren"] == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scores": "logits"}, r"scores: expected one of \['scores'\], got 'logits'"),
        ({"activation": "relu"}, "activation: expected one of none, sigmoid, softmax"),
        ({"events": {"bell": {"labels": ["bell"]}}}, r"events.bell.labels: .*got \['bell'\]"),
        ({"events": {"bell": {"labels": []}}}, "events.bell.labels: .*got none"),
        ({"events": {"horn": {"labels": ["horn"], "threshold": 2}}}, "threshold: expected 0 to 1"),
        (
            {"events": {"horn": {"labels": ["horn"], "threshold": 0.3, "release": 0.4}}},
            "events.horn.release: expected at most the threshold 0.3",
        ),
        ({"smooth": 3}, "smooth: expected one of"),
    ],
)
def test_wrong_options_are_refused_by_field(options, words):
    with pytest.raises(ManifestError, match=words):
        SoundDecoder(manifest(**options))


def test_scores_must_fit_the_labels():
    with pytest.raises(ManifestError, match=r"'scores' \(1, 5\), got 4 labels"):
        SoundDecoder(manifest(shape=(1, 5)))
    decoder = SoundDecoder(manifest())
    with pytest.raises(InvalidOutputError, match=r"expects 4 scores, got \(1, 3\)"):
        names(decoder, [[0, 0, 0]])
    with pytest.raises(InvalidOutputError, match=r"got \['other'\]"):
        decoder({"other": np.zeros((1, 4))}, window())
