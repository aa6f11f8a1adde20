"""Decisions about a candidate, from seeded trials and hand-made evidence."""

from dataclasses import replace

import numpy as np
import pytest

from edge_perception.releases.candidate import CandidateTrial, PairedTimes, in_share
from edge_perception.releases.slo import TrialGate
from edge_perception.releases.trial import (
    STAGES,
    Action,
    Evidence,
    Trial,
    Verdict,
    error_verdict,
    frames_without_error,
)

GOALS = TrialGate()
BASE_S = 0.010
FRAME_S = 0.05


def run(seed, *, error_rate, slowdown=1.0, nan_rate=0.0, goals=GOALS):
    """Play one trial frame by frame; return the last decision and the frames it took."""
    rng = np.random.default_rng(seed)
    trial = Trial(goals, now_s=0.0)
    times = PairedTimes()
    samples = errors = 0
    failure = ""
    for frame in range(100_000):
        now_s = frame * FRAME_S
        stage = trial.stage
        runs = stage.mode == "shadow" or rng.random() < stage.share
        if runs:
            samples += 1
            errors += rng.random() < error_rate
            if rng.random() < nan_rate:
                failure = "output 'bev' has NaN"
            if stage.mode == "shadow":
                # The machine is busy at times, which hits both models of a pair alike.
                busy_s = rng.exponential(0.005)
                current_s = BASE_S + busy_s + rng.normal(0, 0.001)
                times.add(BASE_S * slowdown + busy_s + rng.normal(0, 0.001), current_s)
        evidence = Evidence(
            samples=samples,
            errors=errors,
            failure=failure,
            paired=times.count,
            difference_mean_s=times.mean_s,
            difference_variance_s2=times.variance_s2,
            current_mean_s=times.current_mean_s,
        )
        decision = trial.judge(evidence, now_s)
        if decision.action in (Action.COMMIT, Action.ROLL_BACK):
            return decision, samples
        if decision.action is Action.ADVANCE:
            trial.advance(now_s)
    raise AssertionError("undecided")


def test_a_good_model_passes_in_at_least_95_of_100_trials():
    passed = [run(seed, error_rate=GOALS.error_rate)[0] for seed in range(100)]
    assert sum(decision.action is Action.COMMIT for decision in passed) >= 95


def test_a_bad_model_is_stopped_in_at_least_99_of_100_trials():
    results = [run(seed, error_rate=10 * GOALS.error_rate)[0] for seed in range(100)]
    assert sum(decision.action is Action.ROLL_BACK for decision in results) >= 99


def test_a_three_times_slower_model_is_rolled_back_within_the_stated_bound():
    for seed in range(100):
        decision, samples = run(seed, error_rate=0.0, slowdown=3.0)
        assert decision.action is Action.ROLL_BACK
        assert "slower by" in decision.reason
        assert samples <= GOALS.max_samples


def test_nan_on_one_percent_of_frames_is_rolled_back_within_the_stated_bound():
    results = [run(seed, error_rate=0.0, nan_rate=0.01) for seed in range(100)]
    stopped = [samples for decision, samples in results if decision.action is Action.ROLL_BACK]
    assert all(samples <= GOALS.max_samples for samples in stopped)
    assert len(stopped) >= 99


def test_no_data_holds_and_then_rolls_back():
    trial = Trial(GOALS, now_s=0.0)
    assert trial.judge(Evidence(), 10.0).action is Action.HOLD
    decision = trial.judge(Evidence(), GOALS.stage_timeout_s + 1)
    assert decision.action is Action.ROLL_BACK
    assert "0 frames in 121.0 s > 120 s" in decision.reason


def test_a_hard_guard_ends_the_trial_at_once():
    trial = Trial(GOALS, now_s=0.0)
    decision = trial.judge(Evidence(samples=1, errors=1, failure="NaN"), 0.1)
    assert (decision.action, decision.reason) == (Action.ROLL_BACK, "NaN")


def test_every_stage_needs_its_samples():
    trial = Trial(replace(GOALS, min_samples=10), now_s=0.0, pairs=False)
    seen = 0
    for stage in STAGES[:-1]:
        assert trial.stage == stage
        assert trial.judge(Evidence(samples=seen + 9), 0.0).action is Action.HOLD
        seen += 10
        assert trial.judge(Evidence(samples=seen), 0.0).action is Action.ADVANCE
        trial.advance(0.0)
    # The last stage also waits until the error rate is known to be good.
    assert trial.judge(Evidence(samples=seen + 10), 0.0).action is Action.HOLD
    assert trial.judge(Evidence(samples=900), 0.0).action is Action.COMMIT


def test_a_trial_says_what_it_waits_for():
    goals = replace(GOALS, min_samples=10)
    trial = Trial(goals, now_s=0.0)
    trial.judge(Evidence(samples=4, paired=4, current_mean_s=0.01, difference_mean_s=0.001), 1.0)
    assert trial.waits_for() == "4 of 10 frames, latency undecided: +1.0 ms in 4 pairs"
    good = {"paired": 20, "current_mean_s": 0.01}
    trial.judge(Evidence(samples=20, **good), 1.0)
    assert trial.waits_for() == ""
    for _ in STAGES[1:]:
        trial.advance(2.0)
    trial.judge(Evidence(samples=40, errors=1, **good), 3.0)
    assert trial.waits_for() == (
        f"errors undecided: 1 in 40 frames, good after {frames_without_error(goals)} without one"
    )
    frames = frames_without_error(goals)
    assert error_verdict(goals, frames, 0) is Verdict.GOOD
    assert error_verdict(goals, frames - 1, 0) is Verdict.OPEN


@pytest.mark.parametrize(
    ("samples", "errors", "verdict"),
    [
        (0, 0, Verdict.OPEN),
        (750, 0, Verdict.OPEN),
        (770, 0, Verdict.GOOD),
        (5, 2, Verdict.OPEN),
        (20, 3, Verdict.BAD),
    ],
)
def test_sequential_test_of_the_error_rate(samples, errors, verdict):
    assert error_verdict(GOALS, samples, errors) is verdict


def test_paired_times_agree_with_numpy():
    rng = np.random.default_rng(3)
    candidate, current = rng.random(500), rng.random(500)
    times = PairedTimes()
    for one, other in zip(candidate, current, strict=True):
        times.add(one, other)
    assert times.mean_s == pytest.approx((candidate - current).mean())
    assert times.variance_s2 == pytest.approx((candidate - current).var(ddof=1))
    assert times.current_mean_s == pytest.approx(current.mean())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1.0])
def test_share_of_frames_by_hashed_stamp(share):
    stamps = [10**18 + slot * 500_000_000 for slot in range(20_000)]
    served = sum(in_share(stamp, share) for stamp in stamps) / len(stamps)
    assert served == pytest.approx(share, abs=0.01)
    # All frames of one slot, of whatever source, have one fate.
    assert in_share(stamps[7], share) == in_share(stamps[7] + 499_999_999, share)


def test_a_stream_runs_on_every_frame_and_serves_its_share():
    from edge_perception.models.folders import find_bundle, installed_model_folders

    manifest = find_bundle("bev_lite/audio", installed_model_folders()).manifest
    trial = CandidateTrial(manifest, same_space=True, stateful=True, hears=True)
    trial.set_mode("canary", 0.1)
    stamps = [10**18 + slot * 500_000_000 for slot in range(200)]
    served = [trial.serves(stamp) for stamp in stamps]
    assert 0 < sum(served) < 50
    assert all(trial.shadows(stamp) for stamp in stamps)
    trial.fail("NaN")
    assert not any(trial.serves(stamp) or trial.shadows(stamp) for stamp in stamps)
    trial.set_mode("shadow", 1.0)  # a candidate that failed stays off
    assert trial.mode == "off"
