"""The degradation policy: modes from sources, every transition, confidence and safe stop."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.schema import decode
from edge_perception.core.share import share_file
from edge_perception.core.types import Mode, SourceState, SourceStatus
from edge_perception.encoders import source_defaults
from edge_perception.fusion.config import NS, SourceConfig
from edge_perception.fusion.policy import (
    Action,
    DegradationPolicy,
    PolicyState,
    Situation,
    default_policy,
    read_policy,
)

SOURCES = tuple(SourceConfig(**source_defaults(n)) for n in ("camera", "lidar", "audio"))
SUBSETS = [
    frozenset(subset)
    for size in range(4)
    for subset in itertools.combinations(("camera", "lidar", "audio"), size)
]


def situation(present, *, age_s=0.05, doubtful=(), rate_hz=10.0, sources=SOURCES) -> Situation:
    return Situation(
        sources=sources,
        statuses=tuple(
            SourceStatus(
                source=item.source,
                modality=item.modality,
                state=SourceState.OK if item.source in present else SourceState.MISSING,
                contributed=item.source in present,
                warning="doubtful" if item.source in doubtful else "",
            )
            for item in sources
        ),
        in_time=tuple(present),
        oldest_age_s=age_s if present else float("nan"),
        rate_hz=rate_hz,
    )


def expected_mode(present) -> Mode:
    if len(present) == 3:
        return Mode.FULL
    if present & {"camera", "lidar"}:
        return Mode.DEGRADED
    return Mode.MINIMAL if present else Mode.NONE


def policy(**changes) -> DegradationPolicy:
    data = yaml.safe_load(share_file("config/degradation.yaml").read_text())
    return decode(DegradationPolicy, {**data, **changes}, "policy")


def test_the_file_spells_out_the_default():
    assert read_policy(share_file("config/degradation.yaml")) == default_policy()


@pytest.mark.parametrize("before", SUBSETS, ids=lambda s: "+".join(sorted(s)) or "none")
@pytest.mark.parametrize("after", SUBSETS, ids=lambda s: "+".join(sorted(s)) or "none")
def test_every_transition(before, after):
    """64 rows: the mode follows the sources at once, the stop after its time, and is released."""
    state = PolicyState(default_policy())
    first = state.step(situation(before), 0)
    assert first.mode is expected_mode(before)
    assert not first.safe_stop_reason  # nothing lasted long enough yet
    held = state.step(situation(before), NS)
    assert bool(held.safe_stop_reason) == (expected_mode(before) < Mode.DEGRADED)
    changed = state.step(situation(after), NS + 1)
    assert changed.mode is expected_mode(after)
    stops = expected_mode(after) < Mode.DEGRADED
    assert (changed.action is Action.SAFE_STOP) == stops
    # Asked for already, or not yet; never released or raised within a nanosecond.
    assert bool(changed.safe_stop_reason) == (expected_mode(before) < Mode.DEGRADED)
    later = state.step(situation(after), 3 * NS)
    assert bool(later.safe_stop_reason) == stops


def test_a_stop_is_not_released_by_one_good_view():
    state = PolicyState(default_policy())
    good, bad = situation({"lidar"}), situation(())
    for now_ns in (0, NS):
        state.step(bad, now_ns)
    assert state.step(good, NS + 1).safe_stop_reason
    assert state.step(bad, NS + 2).safe_stop_reason  # starts the release anew
    assert state.step(good, NS + 3).safe_stop_reason
    assert state.step(good, 2 * NS).safe_stop_reason
    assert not state.step(good, 2 * NS + 3).safe_stop_reason


def test_getting_blinder_gains_no_time():
    state = PolicyState(default_policy())
    state.step(situation({"audio"}), 0)
    assert state.step(situation(()), NS // 2).safe_stop_reason


def test_a_better_mode_waits_and_a_worse_one_does_not():
    state = PolicyState(policy(up_after_s=0.5))
    full, degraded = situation({"camera", "lidar", "audio"}), situation({"lidar"})
    assert state.step(full, 0).mode is Mode.FULL
    assert state.step(degraded, 1).mode is Mode.DEGRADED
    assert state.step(full, NS).mode is Mode.DEGRADED
    assert state.step(full, NS + NS // 2).mode is Mode.FULL


def test_age_and_rate_cost_a_mode_and_say_so():
    modes = yaml.safe_load(share_file("config/degradation.yaml").read_text())["modes"]
    modes[0] = {**modes[0], "max_age_s": 0.3, "min_rate_hz": 5.0}
    everything = {"camera", "lidar", "audio"}
    for changes, text in (({"age_s": 0.4}, "0.40 s"), ({"rate_hz": 3.0}, "3.0 Hz")):
        verdict = PolicyState(policy(modes=modes)).step(situation(everything, **changes), 0)
        assert verdict.mode is Mode.DEGRADED
        assert text in verdict.limit
    assert PolicyState(policy(modes=modes)).step(situation(everything), 0).mode is Mode.FULL


TABLE = [
    # sources in time, age s, rate Hz -> mode, action, deadline s, at most this confidence
    ({"camera", "lidar", "audio"}, 0.05, 10.0, Mode.FULL, Action.PUBLISH, 0.25, 1.0),
    ({"camera", "lidar", "audio"}, 0.35, 10.0, Mode.DEGRADED, Action.PUBLISH, 0.15, 0.8),
    ({"camera", "lidar", "audio"}, 0.05, 4.0, Mode.DEGRADED, Action.PUBLISH, 0.15, 0.8),
    ({"lidar"}, 0.05, 10.0, Mode.DEGRADED, Action.PUBLISH, 0.15, 0.8),
    ({"lidar"}, 0.65, 10.0, Mode.MINIMAL, Action.INVALID, 0.0, 0.3),
    ({"camera"}, 0.05, 1.0, Mode.MINIMAL, Action.INVALID, 0.0, 0.3),
    ({"audio"}, 0.05, 10.0, Mode.MINIMAL, Action.INVALID, 0.0, 0.3),
    (set(), 0.05, 10.0, Mode.NONE, Action.SAFE_STOP, 0.0, 0.0),
]
EVERY_FIELD = [
    {"mode": "full", "all_of": ["all"], "any_of": ["locating"], "deadline_s": 0.25,
     "max_age_s": 0.3, "min_rate_hz": 5.0},
    {"mode": "degraded", "any_of": ["locating"], "deadline_s": 0.15, "max_age_s": 0.6,
     "min_rate_hz": 2.0, "confidence": 0.8},
    {"mode": "minimal", "any_of": ["any"], "action": "invalid", "confidence": 0.3},
    {"mode": "none", "action": "safe_stop", "confidence": 0.0, "safe_stop_after_s": 0.5},
]  # fmt: skip


@pytest.mark.parametrize("before", TABLE)
@pytest.mark.parametrize("after", TABLE)
def test_every_field_of_a_mode_holds_after_every_other_mode(before, after):
    state = PolicyState(policy(modes=EVERY_FIELD))
    for now_ns, row in ((0, before), (1, after)):
        present, age_s, rate_hz, mode, action, deadline_s, confidence = row
        verdict = state.step(situation(present, age_s=age_s, rate_hz=rate_hz), now_ns)
        assert (verdict.mode, verdict.action, verdict.deadline_s) == (mode, action, deadline_s)
        assert verdict.confidence <= confidence
        assert bool(verdict.limit) == (bool(present & {"camera", "lidar"}) and row in LIMITED)


LIMITED = [TABLE[1], TABLE[2], TABLE[4], TABLE[5]]


def test_sources_can_be_named():
    modes = [
        {"mode": "full", "all_of": ["lidar"], "any_of": ["camera_front", "camera_rear"]},
        {"mode": "none", "action": "invalid"},
    ]
    sources = tuple(
        SourceConfig(**source_defaults(name)) for name in ("camera_front", "camera_rear", "lidar")
    )
    state = PolicyState(policy(modes=modes))
    for present, mode in (
        ({"lidar", "camera_rear"}, Mode.FULL),
        ({"lidar"}, Mode.NONE),
        ({"camera_front", "camera_rear"}, Mode.NONE),
    ):
        assert state.step(situation(present, sources=sources), 0).mode is mode
    with pytest.raises(ConfigurationError, match="unknown source 'camera_front'"):
        policy(modes=modes).check_sources(SOURCES)


@given(
    present=st.sets(st.sampled_from(("camera", "lidar", "audio"))),
    lost=st.sampled_from(("camera", "lidar", "audio")),
    age_s=st.floats(0.0, 5.0),
    older_s=st.floats(0.0, 5.0),
)
def test_confidence_never_rises_with_a_loss_or_with_age(present, lost, age_s, older_s):
    def value(sources, age, doubtful=()):
        seen = situation(sources, age_s=age, doubtful=doubtful)
        return PolicyState(default_policy()).step(seen, 0).confidence

    full = value(present, age_s)
    assert 0.0 <= full <= 1.0
    assert value(present - {lost}, age_s) <= full
    assert value(present, age_s + older_s) <= full
    assert value(present, age_s, doubtful=(lost,)) <= full


def test_confidence_of_a_full_fresh_view_is_one_and_falls_strictly():
    def value(sources, age=0.05):
        return PolicyState(default_policy()).step(situation(sources, age_s=age), 0).confidence

    everything = {"camera", "lidar", "audio"}
    falling = [
        value(everything),
        value(everything, 0.5),
        value({"camera", "lidar"}, 0.5),
        value({"camera"}, 0.5),
        value({"audio"}, 0.5),
        value(set()),
    ]
    assert falling[0] == 1.0
    assert falling[-1] == 0.0
    assert all(a > b for a, b in itertools.pairwise(falling))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{}", "schema_version"),
        ("schema_version: 2\nmodes: []", "schema_version"),
        ("schema_version: 1\nmodes: []", "last mode 'none'"),
        ("schema_version: 1\nmodes: [{mode: none}]", "none.action"),
        ("schema_version: 1\nmodes: [{mode: none, action: invalid}, {mode: full}]", "from full"),
        ("schema_version: 1\nmodes: [{mode: blind, action: invalid}]", "blind"),
        ("schema_version: 1\nmodes: [{mode: none, action: explode}]", "explode"),
        ("schema_version: 1\nmodes: [{mode: none, action: invalid, confidence: 2}]", "confidence"),
        ("schema_version: 1\nmodes: [{mode: none, action: invalid, deadline_s: -1}]", "deadline_s"),
        ("schema_version: 1\nmodez: []\nmodes: []", "modez"),
        ("- [", "degradation policy"),
        ("!!python/object/apply:os.system ['true']", "degradation policy"),
    ],
)
def test_a_wrong_file_is_refused_with_the_field(tmp_path: Path, text, named):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=named) as caught:
        read_policy(path)
    assert "policy" in str(caught.value)
