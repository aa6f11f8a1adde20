from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from edge_perception.simulation import sounds
from edge_perception.simulation.audio import generate_audio
from edge_perception.simulation.generate import simulate_sequence
from edge_perception.simulation.propagation import SPEED_OF_SOUND_MPS, propagate
from edge_perception.simulation.scenario import Camera, Emergency, Outage, Scenario
from edge_perception.simulation.world import World

RATE = sounds.SAMPLE_RATE_HZ
MICROPHONES = np.array([[0.0, 0.35, 1.6], [0.0, -0.35, 1.6]])


def _at(position, velocity=(0.0, 0.0, 0.0)):
    return lambda t: np.asarray(position) + np.asarray(t)[:, None] * np.asarray(velocity)


def _tone(hz, seconds):
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def _pitch(wave):
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 8 * len(wave)))
    return spectrum.argmax() * RATE / (8 * len(wave))


def _delay_s(a, b):
    size = 8 * len(a)
    cross = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    lag = int(cross.argmax())
    return (lag - size if lag > size // 2 else lag) / RATE


@pytest.mark.parametrize("bearing", [0.0, 0.6, 1.5, -1.2])
def test_microphones_hear_the_delay_of_the_bearing(bearing):
    wave = sounds.shaped_noise(np.random.default_rng(0), 3 * RATE, np.ones_like)
    place = 40.0 * np.array([np.cos(bearing), np.sin(bearing), 0.04])
    heard = propagate(wave, _at(place), MICROPHONES, 0.0, RATE)
    expected = -0.7 * np.sin(bearing) / SPEED_OF_SOUND_MPS  # left hears first: negative
    assert _delay_s(heard[:, 0], heard[:, 1]) == pytest.approx(expected, abs=1.0 / RATE)


def test_sound_halves_with_twice_the_distance():
    wave = _tone(800, 3)
    near = propagate(wave, _at((10, 0, 1.6)), MICROPHONES, 0.0, RATE)
    far = propagate(wave, _at((20, 0, 1.6)), MICROPHONES, 0.0, RATE)
    assert near.std() / far.std() == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("speed", [15.0, -15.0])
def test_pitch_rises_when_a_source_comes_nearer(speed):
    wave = _tone(1000, 4)
    start = 100.0 if speed > 0 else 40.0
    heard = propagate(wave, _at((start, 0, 1.6), (-speed, 0, 0)), MICROPHONES, 0.0, 2 * RATE)
    # The approximation of the propagation is exact to first order in v / c.
    assert _pitch(heard[:, 0]) == pytest.approx(1000 * (1 + speed / SPEED_OF_SOUND_MPS), rel=2e-3)


@pytest.mark.parametrize("kind", ["wail", "yelp", "hi_lo"])
def test_sirens_sweep_in_their_band_without_aliases(kind):
    wave = sounds.siren(kind, 6 * RATE, np.random.default_rng(4))
    frames = np.lib.stride_tricks.sliding_window_view(wave, 1024)[::512] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    pitch = power[:, :120].argmax(axis=1) * RATE / 1024
    assert 380 < pitch.min() < 1000
    assert pitch.max() / pitch.min() > 1.2
    assert power[:, 500:].sum() < 0.01 * power.sum()


def _scenario(**change):
    values = {"name": "x", "layout": "road", "ego_speed_mps": 0.0, "sounds": (), **change}
    return Scenario(**values)


@pytest.mark.parametrize(
    ("direction", "bearing"), [("behind", np.pi), ("ahead", 0.0), ("left", 1.57), ("right", -1.57)]
)
def test_labels_give_the_bearing_of_the_siren(direction, bearing):
    scenario = _scenario(emergency=Emergency(direction=direction, speed_mps=0.0))
    audio = generate_audio(scenario, 2, 1.0)
    (event,) = audio.events(0.2, 0.7)
    assert event.class_name == "siren"
    assert event.window_start_ns == audio.start_ns + 200_000_000
    assert np.cos(event.bearing_rad - bearing) > 0.9
    left, right = audio.samples[:, 0], audio.samples[:, 1]
    if direction in ("left", "right"):
        assert (_delay_s(left, right) < 0) == (direction == "left")


def test_labels_end_with_the_sound():
    audio = generate_audio(_scenario(sounds=("horn",)), 5, 8.0)
    (track,) = audio.tracks
    assert track.class_name == "car_horn"
    envelope = np.abs(audio.samples).max(axis=1)
    inside = np.zeros(len(envelope), bool)
    for start, end in track.spans_s:
        inside[int(start * RATE) : int(end * RATE)] = True
    assert 0.05 < inside.mean() < 1.0
    start, end = track.spans_s[0]
    assert audio.events(start, min(end, start + 0.1))
    assert envelope[inside].mean() > 5 * envelope[~inside].mean()


def test_the_asked_ratio_to_the_noise_is_kept():
    scenario = _scenario(emergency=Emergency(distance_m=30.0), sounds=("street", "engine"))
    loud = generate_audio(scenario, 9, 2.0, snr_db=20.0)
    quiet = generate_audio(scenario, 9, 2.0, snr_db=-20.0)

    def tonality(audio):
        frames = audio.samples[: 30 * 1024, 0].reshape(30, 1024) * np.hanning(1024)
        power = np.abs(np.fft.rfft(frames, axis=1))[:, 25:] ** 2
        return np.median(power.max(axis=1) / np.median(power, axis=1))

    assert tonality(loud) > 10 * tonality(quiet)


def test_recordings_repeat_with_the_seed_and_stay_in_range():
    scenario = _scenario(emergency=Emergency(distance_m=6.0), weather="rain",
                         sounds=("rain", "horn", "engine", "speech", "street"))  # fmt: skip
    first, again = generate_audio(scenario, 1, 1.0), generate_audio(scenario, 1, 1.0)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.samples.dtype == np.float32
    assert np.abs(first.samples).max() == 1.0  # so near a siren clips
    assert generate_audio(scenario, 2, 1.0).samples[0, 0] != first.samples[0, 0]


def test_blocks_are_gapless():
    blocks = generate_audio(_scenario(sounds=("street",)), 1, 1.05, start_s=2.0).blocks()
    assert len(blocks) == 10
    assert blocks[0].stamp_ns == 1_002_000_000_000
    for a, b in pairwise(blocks):
        assert b.first_sample_index == a.first_sample_index + 1600
        assert b.stamp_ns == a.stamp_ns + 100_000_000


def test_sequences_are_ordered_and_leave_out_outages():
    scenario = Scenario(name="x", camera=Camera(width=160, height=90),
                        outages=(Outage(sensor="lidar", start_s=0.1, end_s=0.2),))  # fmt: skip
    samples = list(simulate_sequence(scenario, 3, 0.3))
    stamps = [s.stamp_ns for s in samples]
    assert stamps == sorted(stamps)
    counts = {name: sum(s.sensor == name for s in samples) for name in scenario.sensors}
    assert counts == {"camera": 3, "lidar": 2, "audio": 3}
    for sample in samples:
        assert sample.data.stamp_ns == sample.stamp_ns
        assert (sample.frame is None) == (sample.sensor == "audio")


def test_a_world_given_is_the_world_used():
    scenario = _scenario(emergency=Emergency())
    world = World(scenario, 4)
    with_world = generate_audio(scenario, 4, 0.3, world=world)
    np.testing.assert_array_equal(with_world.samples, generate_audio(scenario, 4, 0.3).samples)
    assert replace(scenario) == scenario
