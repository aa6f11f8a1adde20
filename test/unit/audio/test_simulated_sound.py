"""The sound of the simulated demo: loud where the siren passes, and yet a sound to use."""

import numpy as np
from audio_messages import chunk, header

from edge_perception.encoders import encoders
from edge_perception.encoders.audio.encoder import AudioIntake
from edge_perception.encoders.content import Verdict
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.samples.simulated import simulated_sound


def test_no_window_of_it_is_refused():
    sound = simulated_sound()
    stored = np.concatenate([(sound.samples * 32767).astype("<i2")] * 2)  # as the demo plays it
    intake = AudioIntake(find_bundle("bev_lite/audio", installed_model_folders()).manifest)
    spec = encoders()["audio"].content
    check = spec.make(spec.limits())
    size = sound.sample_rate_hz // 10
    found = []
    for first in range(0, len(stored), size):
        message = chunk(
            stored[first : first + size].tobytes(),
            first_sample_index=first,
            sample_rate=sound.sample_rate_hz,
            channels=stored.shape[1],
            header=header(10**9 + first * 10**9 // sound.sample_rate_hz),
        )
        item = intake.accept(message)
        if item is not None:
            found.append(check.check(intake.frame(item)))
    assert len(found) > 150
    assert {finding.verdict for finding in found} <= {Verdict.GOOD, Verdict.DOUBTFUL}, found
