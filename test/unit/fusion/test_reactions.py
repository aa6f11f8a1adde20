"""What the policy does about conditions."""

import math

import pytest
import yaml

from edge_perception.core.conditions import NOT_KNOWN, Conditions
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import Mode, SourceState, SourceStatus
from edge_perception.fusion.config import SourceConfig
from edge_perception.fusion.policy import PolicyState, Situation, default_policy, read_policy
from edge_perception.fusion.reactions import NO_REACTION, ConditionPolicy, ReactionState

S = 10**9
FOG = ConditionPolicy(
    condition="fog", at_best=Mode.DEGRADED, confidence=0.6, min_score=0.4, max_speed_mps=8.0
)
NIGHT = ConditionPolicy(condition="night", min_score=0.3, max_speed_mps=12.0)


def held(**names):
    return Conditions(holding=tuple(names.items()), known=tuple(names))


def test_the_strictest_of_all_that_hold():
    both = ReactionState((FOG, NIGHT)).step(held(night=0.9, fog=0.8), 0)
    assert both.at_best is Mode.DEGRADED
    assert (both.confidence, both.min_score, both.speed_advice_mps) == (0.6, 0.4, 8.0)
    assert both.reason == "fog: at best DEGRADED by policy"
    night = ReactionState((FOG, NIGHT)).step(held(night=0.9), 0)
    assert night.at_best is Mode.FULL
    assert night.reason == ""
    assert night.speed_advice_mps == 12.0


def test_it_begins_when_sure_and_is_released_late():
    state = ReactionState((FOG,))
    assert state.step(held(fog=0.5), 0) == NO_REACTION
    assert state.step(held(fog=0.7), S).min_score == 0.4
    assert state.step(held(fog=0.5), 2 * S).min_score == 0.4
    assert state.step(NOT_KNOWN, 4 * S).min_score == 0.4
    assert state.step(NOT_KNOWN, 6 * S) == NO_REACTION


def test_without_entries_nothing_happens():
    reaction = ReactionState(()).step(held(fog=1.0), 0)
    assert reaction == NO_REACTION
    assert math.isnan(reaction.speed_advice_mps)


def test_a_mode_is_lost_and_the_reason_says_why():
    sources = (SourceConfig(source="lidar", modality="lidar", rate_hz=10.0),)
    status = SourceStatus(source="lidar", modality="lidar", state=SourceState.OK, contributed=True)
    seen = Situation(
        sources=sources,
        statuses=(status,),
        in_time=["lidar"],
        oldest_age_s=0.1,
        rate_hz=10.0,
        reaction=ReactionState((FOG,)).step(held(fog=0.9), 0),
    )
    verdict = PolicyState(default_policy()).step(seen, 0)
    assert verdict.mode is Mode.DEGRADED
    assert verdict.limit == "fog: at best DEGRADED by policy"
    assert verdict.confidence == 0.6


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"condition": "hail"}, "condition: expected one of day, dusk, night"),
        ({"condition": "fog", "min_score": 2.0}, "min_score: expected 0 to 1"),
        ({"condition": "fog", "at_best": "half"}, "at_best: expected one of"),
        ({"condition": "fog", "speed": 3.0}, "speed"),
    ],
)
def test_a_broken_entry_is_named(entry, told, tmp_path):
    modes = [{"mode": "none", "action": "invalid"}]
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump({"schema_version": 1, "modes": modes, "conditions": [entry]}))
    with pytest.raises(ConfigurationError, match=r"conditions\[0\]") as caught:
        read_policy(path)
    assert told in str(caught.value)


def test_a_variant_serves_while_its_condition_holds_and_the_policy_s_first_wins(tmp_path):
    night = ConditionPolicy(condition="night", variants={"camera": "dark", "lidar": "thin"})
    fog = ConditionPolicy(condition="fog", variants={"camera": "hazy"})
    state = ReactionState((fog, night))
    assert state.step(held(night=0.9), 0).variants == {
        "camera": ("dark", "night"), "lidar": ("thin", "night")
    }  # fmt: skip
    both = state.step(held(night=0.9, fog=0.8), S)
    assert both.variants == {"camera": ("hazy", "fog"), "lidar": ("thin", "night")}
    flickering = [
        state.step(held(fog=0.8 if n % 2 else 0.0), 2 * S + n * S // 2) for n in range(20)
    ]
    assert all(r.variants.get("camera") == ("hazy", "fog") for r in flickering), "no swinging"
    assert state.step(NOT_KNOWN, 60 * S).variants == {}


def test_a_variant_for_nobody_is_refused(tmp_path):
    data = {
        "schema_version": 1,
        "modes": [{"mode": "none", "action": "invalid", "confidence": 0.0}],
        "conditions": [{"condition": "night", "variants": {"camra": "dark"}}],
    }
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(data))
    source = SourceConfig(source="camera", modality="camera", rate_hz=10.0)
    with pytest.raises(ConfigurationError, match="expected a bundle for one of camera, got 'camra"):
        read_policy(file).check_sources((source,))
