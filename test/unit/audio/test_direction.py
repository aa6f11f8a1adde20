import math

import numpy as np
import pytest
from audio_messages import blocks

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import Geometry, SoundEvent
from edge_perception.encoders.audio.direction import DirectionFinder
from edge_perception.encoders.audio.locator import SoundLocator
from edge_perception.encoders.audio.options import AudioSourceOptions
from edge_perception.encoders.audio.stream import StreamAssembler

SQUARE = np.array([[0.1, 0.1, 0.0], [0.1, -0.1, 0.0], [-0.1, 0.1, 0.0], [-0.1, -0.1, 0.0]])
SPEED_OF_SOUND_MPS = 343.0


def heard(bearing, positions=SQUARE, *, rate_hz=16_000, seconds=0.6, noise=0.01, seed=0):
    """Return a wide-band sound from far away at each microphone, (N, C), delayed by its phase."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate_hz)
    spectrum = np.fft.rfft(rng.normal(0.0, 0.1, count))
    frequency_hz = np.fft.rfftfreq(count, 1.0 / rate_hz)
    ahead = np.array([math.cos(bearing), math.sin(bearing), 0.0])
    earlier_s = positions @ ahead / SPEED_OF_SOUND_MPS
    phases = np.exp(2j * np.pi * frequency_hz[:, None] * earlier_s)
    waves = np.fft.irfft(spectrum[:, None] * phases, count, axis=0)
    return (waves + rng.normal(0.0, noise, waves.shape)).astype(np.float32)


def turned(angle, expected):
    return abs(math.degrees(math.remainder(angle - expected, 2.0 * math.pi)))


@pytest.mark.parametrize("bearing", [-3.1, -1.9, -0.7, 0.0, 0.4, 1.57, 2.6, 3.14])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_a_sound_is_found_all_around_at_any_rate(bearing, rate_hz):
    found = DirectionFinder(SQUARE, rate_hz).bearing(heard(bearing, rate_hz=rate_hz))
    assert turned(found, bearing) < 2.0
    assert -math.pi <= found <= math.pi


@pytest.mark.parametrize(
    "positions",
    [
        [[0.0, 0.05, 0.0], [0.0, -0.05, 0.0], [0.08, 0.0, 0.0]],
        [[0.7, 0.5, 0.1], [0.7, -0.5, 0.0], [-0.9, 0.4, 0.0], [-0.9, -0.4, 0.2], [0.0, 0.0, 0.3]],
    ],
)
def test_any_array_that_is_no_line_will_do(positions):
    positions = np.array(positions)
    for bearing in (-2.0, 0.3, 1.9):
        found = DirectionFinder(positions, 16_000).bearing(heard(bearing, positions))
        assert turned(found, bearing) < 4.0


def test_noise_without_direction_gets_none():
    rng = np.random.default_rng(1)
    finder = DirectionFinder(SQUARE, 16_000)
    assert math.isnan(finder.bearing(rng.normal(0, 0.1, (8000, 4)).astype(np.float32)))
    assert math.isnan(finder.bearing(np.zeros((8000, 4), np.float32)))
    assert math.isnan(finder.bearing(np.ones((8000, 4), np.float32)))
    assert math.isnan(finder.bearing(heard(0.0)[:100])), "shorter than one frame"


def test_the_same_sound_on_all_channels_has_no_direction():
    mono = np.random.default_rng(2).normal(0, 0.1, (8000, 1)).astype(np.float32)
    assert math.isnan(DirectionFinder(SQUARE, 16_000).bearing(np.repeat(mono, 4, axis=1)))


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        ((0.0, 0.1, 0.0, 0.0, -0.1, 0.0), "at least 3 microphones, got 2"),
        ((0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, -0.1, 0.0), "not on a line"),
        ((0.0, 0.1, 0.0, 0.0, 0.1, 0.3, 0.0, 0.1, 0.6), "not on a line"),
        ((0.0,) * 12, "not on a line"),
        (tuple(np.arange(51.0) ** 2), "at most 16 microphones, got 17"),
        ((0.0, 0.1), "x, y, z for each channel"),
        ((0.0, 0.1, math.nan), "x, y, z for each channel"),
    ],
)
def test_an_array_that_cannot_tell_directions_apart_is_refused(positions, words):
    options = AudioSourceOptions(source="audio", microphone_positions=positions)
    with pytest.raises(ConfigurationError, match=words):
        options.geometry()


def test_an_array_is_turned_into_the_base_frame():
    half = math.sqrt(0.5)
    options = AudioSourceOptions(
        source="audio",
        T_base_sensor=(0.5, 0.0, 1.6, 0.0, 0.0, half, half),  # a quarter turn to the left
        microphone_positions=tuple(SQUARE[:3].ravel()),
    )
    geometry = options.geometry()
    in_base = SQUARE[:3] @ geometry.T_base_sensor[:3, :3].T
    samples = heard(1.0, in_base)
    (event,), warning = SoundLocator().locate((siren(),), window(samples), geometry)
    assert turned(event.bearing_rad, 1.0) < 4.0
    assert not warning


def siren(class_name="siren"):
    return SoundEvent(class_name=class_name, score=0.9, window_start_ns=1, window_end_ns=2)


def window(samples, rate_hz=16_000):
    """Return the last window of a stream of these samples."""
    stream = StreamAssembler(rate_hz=16_000, window_samples=1600, hop_samples=1600)
    given = blocks(samples, rate_hz=rate_hz, block=rate_hz // 10)
    return [w for block in given if (w := stream.push(block)) is not None][-1]


def test_only_an_event_alone_gets_the_direction_of_the_loudest_sound():
    geometry, heard_now = Geometry(microphones_m=SQUARE), window(heard(0.8))
    locator = SoundLocator()
    (alone,), _ = locator.locate((siren(),), heard_now, geometry)
    assert turned(alone.bearing_rad, 0.8) < 2.0
    both, warning = locator.locate((siren(), siren("car_horn")), heard_now, geometry)
    assert all(math.isnan(event.bearing_rad) for event in both)
    for event in both:
        (other,) = event.other_bearings_rad
        assert turned(other, 0.8) < 2.0
    assert not warning


def test_two_sounds_at_once_have_a_direction_each_the_louder_first():
    finder = DirectionFinder(SQUARE, 16_000)
    samples = chord(0.8, (700.0, 1400.0, 2100.0)) + 0.6 * chord(-2.0, (900.0, 1750.0, 2600.0))
    first, second = finder.bearings(samples)
    assert turned(first, 0.8) < 3.0
    assert turned(second, -2.0) < 6.0
    assert finder.bearing(samples) == first
    assert len(finder.bearings(chord(0.8, (700.0, 1400.0, 2100.0)))) == 1


def wailing(bearing_rad, rate_hz=16_000):
    """As `chord`, of a pitch that rises by half within the half second."""
    t = np.arange(8000) / rate_hz
    at_s = t[:, None] + SQUARE[:, :2] @ (math.cos(bearing_rad), math.sin(bearing_rad)) / 343.0
    return sum(0.2 * np.sin(2 * np.pi * k * 800.0 * (at_s + 0.5 * at_s**2)) for k in (1, 2)).astype(
        np.float32
    )


def test_what_holds_its_pitch_is_told_from_what_wails():
    finder = DirectionFinder(SQUARE, 16_000)
    (held,) = finder.sounds(chord(0.8, (700.0, 1400.0, 2100.0)))
    (moved,) = finder.sounds(wailing(0.8))
    assert held.held > 0.9
    assert moved.held < 0.5
    (brief,) = finder.sounds(chord(0.8, (700.0, 1400.0, 2100.0))[:3000])
    assert math.isnan(brief.held), "shorter than the time after which a tone is looked for again"


HORN_HZ = (410.0, 490.0, 820.0, 980.0, 1230.0, 1470.0)


@pytest.mark.parametrize(("loud", "louder"), [(1.0, "horn"), (0.4, "siren")])
def test_a_siren_beside_a_horn_has_the_direction_whose_pitch_moves(loud, louder):
    heard_now = window(loud * chord(-2.0, HORN_HZ) + wailing(0.8))
    events = (siren(), siren("Vehicle horn, car horn, honking"), siren("Speech"))
    (wail, horn, voice), _ = SoundLocator().locate(
        events, heard_now, Geometry(microphones_m=SQUARE)
    )
    assert turned(wail.bearing_rad, 0.8) < 4.0, louder
    assert turned(horn.bearing_rad, -2.0) < 12.0  # each pulls the other's direction aside
    assert wail.other_bearings_rad == (horn.bearing_rad,)
    assert math.isnan(voice.bearing_rad), "a voice is none of the two"
    assert set(voice.other_bearings_rad) == {wail.bearing_rad, horn.bearing_rad}


def test_two_that_hold_their_pitch_are_not_told_apart():
    both = window(chord(0.8, HORN_HZ) + 0.8 * chord(-2.0, (700.0, 1400.0, 2100.0)))
    events, _ = SoundLocator().locate(
        (siren(), siren("car_horn")), both, Geometry(microphones_m=SQUARE)
    )
    assert all(math.isnan(event.bearing_rad) for event in events)
    assert all(len(event.other_bearings_rad) == 2 for event in events)


def test_a_siren_beside_what_may_wail_as_well_gets_no_bearing_of_its_own():
    both = window(chord(-2.0, HORN_HZ) + wailing(0.8))
    events, _ = SoundLocator().locate((siren(), siren("Dog")), both, Geometry(microphones_m=SQUARE))
    assert all(math.isnan(event.bearing_rad) for event in events)


def chord(bearing_rad, tones_hz, rate_hz=16_000):
    """Tones from far away, as the four microphones hear them, (8000, 4)."""
    t = np.arange(8000) / rate_hz
    earlier_s = SQUARE[:, :2] @ (math.cos(bearing_rad), math.sin(bearing_rad)) / 343.0
    phases = 2 * np.pi * (t[:, None] + earlier_s)
    noise = np.random.default_rng(3).normal(0, 0.003, (8000, 4))
    return (0.2 * sum(np.sin(phases * tone) for tone in tones_hz) + noise).astype(np.float32)


def test_the_newest_half_second_counts_at_the_rate_of_the_device():
    samples = np.concatenate(
        [heard(-2.0, rate_hz=48_000, seconds=1.0), heard(1.2, rate_hz=48_000, seconds=0.5)]
    )
    (event,), _ = SoundLocator().locate(
        (siren(),), window(samples, 48_000), Geometry(microphones_m=SQUARE)
    )
    assert turned(event.bearing_rad, 1.2) < 2.0


def test_channels_that_do_not_fit_the_array_are_said_and_the_event_stands():
    geometry = Geometry(microphones_m=SQUARE)
    (event,), warning = SoundLocator().locate((siren(),), window(heard(0.8)[:, :2]), geometry)
    assert math.isnan(event.bearing_rad)
    assert warning == ("no bearings: microphone_positions has 4 microphones, the sound 2 channels")


def test_without_an_array_nothing_is_looked_for():
    events = (siren(),)
    assert SoundLocator().locate(events, window(heard(0.8)), Geometry()) == (events, "")


def test_the_array_may_change_its_place():
    locator, turn = SoundLocator(), np.eye(4)
    heard_now = window(heard(0.8))
    (before,), _ = locator.locate((siren(),), heard_now, Geometry(microphones_m=SQUARE))
    turn[:2, :2] = [[0.0, -1.0], [1.0, 0.0]]
    (after,), _ = locator.locate(
        (siren(),), heard_now, Geometry(microphones_m=SQUARE, T_base_sensor=turn)
    )
    assert turned(after.bearing_rad - before.bearing_rad, math.pi / 2) < 1.0


def test_a_gap_forgets_what_came_before():
    stream = StreamAssembler(rate_hz=16_000, window_samples=1600, hop_samples=1600)
    given = blocks(heard(0.8))
    for block in given:
        stream.push(block)
    after = blocks(heard(0.8), first_index=100_000)[0]
    with pytest.raises(Exception, match="gap"):
        stream.push(after)
    newest = stream.push(blocks(heard(0.8), first_index=100_000)[1])
    assert newest is not None
    assert sum(len(block) for block in newest.recent) == 3200
