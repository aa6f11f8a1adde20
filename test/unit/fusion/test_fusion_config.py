import dataclasses

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.encoders import source_defaults
from edge_perception.fusion.config import (
    CycleConfig,
    DecisionConfig,
    FusionConfig,
    SourceConfig,
)

LIDAR = SourceConfig(source="lidar", modality="lidar")


@pytest.mark.parametrize("cls", [SourceConfig, CycleConfig, DecisionConfig])
def test_every_field_says_what_it_is(cls):
    for item in dataclasses.fields(cls):
        assert item.metadata["text"], item.name
        if item.type in ("float", "int"):
            assert item.metadata["min"] < item.metadata["max"], item.name
            if item.default is not dataclasses.MISSING:
                assert item.metadata["min"] <= item.default <= item.metadata["max"]
        if item.name.endswith(("_s", "_m", "_hz", "_px")):
            assert item.metadata["unit"] == {"z": "Hz", "x": "px"}.get(
                item.name[-1], item.name[-1]
            ), item.name


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: CycleConfig(deadline_s=0.0), "fusion.deadline_s: expected 0.01 to 10 s, got 0.0"),
        (lambda: CycleConfig(deadline_s=float("nan")), "got nan"),
        (lambda: CycleConfig(policy="anchor"), "expected one of complete, fixed_rate"),
        (lambda: CycleConfig(deadline_s=0.1, deadline_margin_s=0.06), "at most half of deadline_s"),
        (
            lambda: dataclasses.replace(LIDAR, rate_hz=-1.0),
            "fusion.lidar.rate_hz: expected 0.01 to 1000 Hz, got -1.0",
        ),
        (
            lambda: dataclasses.replace(LIDAR, late_after_s=2.0),
            "expected lidar.late_after_s <= lidar.stale_after_s <= lidar.missing_after_s, "
            "got 2 s, 0.5 s, 1 s",
        ),
        (lambda: DecisionConfig(gate_m=0.0), "fusion.decision.gate_m"),
        (lambda: FusionConfig(sources=()), "expected unique names"),
        (lambda: FusionConfig(sources=(LIDAR, LIDAR)), "['lidar', 'lidar']"),
    ],
)
def test_wrong_values_are_refused_with_the_range(make, text):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert text in str(caught.value)


def test_limits_follow_the_rate():
    slow = dataclasses.replace(LIDAR, rate_hz=5.0)
    assert (slow.late_ns, slow.stale_ns, slow.missing_ns) == (440_000_000, 10**9, 2 * 10**9)
    assert slow.max_age_ns == 10**9
    assert LIDAR.max_age_ns == 500_000_000


def test_a_single_lost_frame_fits_between_the_limit_and_the_deadline():
    """The wait for the frame after a lost one ends before the deadline does."""
    cycle = CycleConfig()
    late_s = LIDAR.late_ns / 1e9
    assert 2.1 / LIDAR.rate_hz < late_s <= cycle.deadline_s - cycle.deadline_margin_s


def test_sound_neither_paces_nor_locates():
    audio = SourceConfig(**source_defaults("audio_roof", rate_hz=5.0))
    assert (audio.locates, audio.rate_hz, audio.source) == (False, 5.0, "audio_roof")
    assert audio.reuse_s > 0.0
