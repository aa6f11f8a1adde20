"""An adapter is anybody's code: what it raises and gives is looked at before it is used."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edge_perception.core.errors import InvalidFrameError, InvalidOutputError, ManifestError
from edge_perception.core.types import DetectedObject, ImageObject, SoundEvent
from edge_perception.models import decided
from edge_perception.models.adapters import Decisions
from edge_perception.models.decided import decide, decoder_of

BOX = DetectedObject(
    class_name="car", score=0.9, center_m=(5.0, 0.0, 0.8), size_m=(4.0, 2.0, 1.6), yaw_rad=0.1
)
IMAGE_BOX = ImageObject(class_name="car", score=0.9, x_min=1.0, y_min=2.0, x_max=9.0, y_max=8.0)
SOUND = SoundEvent(class_name="siren", score=0.5, window_start_ns=1, window_end_ns=2)
GOOD = Decisions(objects=(BOX,), image_objects=(IMAGE_BOX,), sound_events=(SOUND,))


def box(**changes):
    return Decisions(objects=(BOX, replace(BOX, **changes)))


def gives(answer):
    return decide("theirs", lambda _outputs, _context: answer, {}, None)


def raises(error):
    def decoder(_outputs, _context):
        raise error

    return decide("theirs", decoder, {}, None)


def test_what_is_right_passes_as_it_is():
    assert gives(GOOD) is GOOD
    assert gives(Decisions()) == Decisions()
    as_numpy = box(center_m=np.array([1.0, 2.0, 0.5], np.float32), score=np.float32(0.5))
    assert gives(as_numpy) is as_numpy
    assert gives(Decisions(objects=[BOX])).objects == [BOX]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, "expected Decisions, got NoneType"),
        ([BOX], "expected Decisions, got list"),
        (Decisions(objects=(item for item in (BOX,))), "objects: expected a tuple, got generator"),
        (Decisions(objects=(BOX,) * 5001), "objects: expected at most 5000, got 5001"),
        (Decisions(sound_events=(SOUND,) * 1001), "sound_events: expected at most 1000, got 1001"),
        (Decisions(objects=(IMAGE_BOX,)), "objects: expected DetectedObject, got ImageObject"),
        (Decisions(image_objects=({},)), "image_objects: expected ImageObject, got dict"),
        (box(class_name=3), "class_name: expected text, got 3"),
        (box(class_name="c\ud800r"), "class_name: expected text that UTF-8 can hold"),
        (box(track_id=-1), "track_id: expected 0 (not tracked) to 4294967295, got -1"),
        (box(track_id=2**32), "track_id: expected 0 (not tracked) to 4294967295"),
        (box(track_id=1.5), "track_id: expected 0 (not tracked) to 4294967295, got 1.5"),
        (box(emergency_evidence=None), "emergency_evidence: expected text, got None"),
        (box(sources=(3,)), "sources: expected text, got 3"),
        (box(sources=None), "a value of another type than its field"),
        (
            Decisions(sound_events=(replace(SOUND, candidates=((-3, 0.5),)),)),
            "candidates: expected",
        ),
        (box(class_name="x" * 300), "class_name: expected at most 256 characters, got 300"),
        (box(center_m=(5.0, 0.0)), "expected 3 numbers each"),
        (box(covariance=(1.0, 2.0)), "none or 10 of covariance, got (3, 3, 3) and 2"),
        (box(center_m=(float("nan"), 0.0, 0.0)), "object 'car' has NaN or Inf"),
        (box(size_m=(float("inf"), 1.0, 1.0)), "object 'car' has NaN or Inf"),
        (box(size_m=(-4.0, 1.0, 1.0)), "has a size of (-4.0, 1.0, 1.0) m, expected 0 to 10000"),
        (box(score=7.0), "has a score of 7, expected 0 to 1"),
        (box(score="much"), "a value of another type than its field"),
        (box(center_m=None), "a value of another type than its field"),
        (box(yaw_rad=1e9), "has a heading of 1e+09 rad"),
        (box(velocity_mps=(1e9, 0.0, 0.0)), "is faster than"),
        (Decisions(image_objects=(replace(IMAGE_BOX, x_min=float("nan")),)), "has NaN or Inf"),
        (Decisions(sound_events=(replace(SOUND, score=-1.0),)), "sound 'siren' has a score of -1"),
    ],
)
def test_what_cannot_be_used_is_named(answer, text):
    with pytest.raises(InvalidOutputError) as refused:
        gives(answer)
    assert str(refused.value).startswith("adapter 'theirs': ")
    assert text in str(refused.value)


@pytest.mark.parametrize("error", [KeyError("boxes"), ZeroDivisionError("x"), SystemExit(3)])
def test_whatever_it_raises_is_an_output_that_cannot_be_used(error):
    with pytest.raises(InvalidOutputError) as refused:
        raises(error)
    name = type(error).__name__
    assert str(refused.value).startswith(f"adapter 'theirs': {name}: {error} (test_decided.py:")
    assert refused.value.__cause__ is error


@pytest.mark.parametrize("error", [InvalidFrameError("dark"), InvalidOutputError("no boxes")])
def test_what_it_says_on_purpose_stays(error):
    with pytest.raises(type(error), match=f"^{error}$"):
        raises(error)


def test_an_adapter_that_cannot_be_made_names_its_bundle(monkeypatch):
    def make_decoder(manifest):
        return manifest.postprocessing["thresholds"]

    spec = SimpleNamespace(make_decoder=make_decoder)
    monkeypatch.setattr(decided, "adapters", lambda: {"theirs": spec})
    manifest = SimpleNamespace(name="bundle", adapter="theirs", postprocessing={})
    with pytest.raises(ManifestError, match=r"bundle: adapter 'theirs': KeyError: 'thresholds'"):
        decoder_of(manifest)
