"""What a gate lets pass, and what is told of what it cannot see."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_perception.cli._optimize_smaller import make_judge
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.share import share_file
from edge_perception.evaluation.matching import Judged
from edge_perception.optimize.candidate_table import readable
from edge_perception.optimize.candidates import Candidate, Remembered
from edge_perception.optimize.comparing import Comparing
from edge_perception.optimize.findings import Outcome
from edge_perception.optimize.quantizing import tell_doubts
from edge_perception.optimize.verdicts import (
    Gate,
    Verdict,
    drawn,
    failed,
    gated_loss,
    paired_error,
    share_error,
)


def test_the_error_of_a_loss_grows_with_what_differs_from_frame_to_frame():
    def frame(hits):
        n = len(hits)
        hit = np.repeat(np.array(hits, bool)[:, None], 4, axis=1)
        return Judged(
            label=np.zeros(n, np.int8), score=np.linspace(0.9, 0.5, n).astype(np.float32), hit=hit,
            counts=np.ones((n, 4), bool), range_m=np.full(n, 10.0, np.float32),
            wanted_label=np.zeros(3, np.int8), wanted_range_m=np.full(3, 10.0, np.float32),
        )  # fmt: skip

    good, bad = frame([1, 1, 1]), frame([1, 0, 0])
    assert paired_error(drawn([good] * 8), drawn([good] * 8)) == 0.0
    assert paired_error(drawn([good] * 8), drawn([bad, *[good] * 7])) > 1.0


def test_decisions_of_one_frame_count_as_one():
    even = [(18.0, 20.0)] * 10  # each frame misses a tenth: other frames would too
    lumped = [(0.0, 20.0), *[(20.0, 20.0)] * 9]  # one frame misses all
    independent = 100 * np.sqrt(0.1 * 0.9 / 200)
    assert share_error(lumped) > 3 * independent
    assert share_error(even) == pytest.approx(100 / 200)  # never less than one decision
    assert share_error([(20.0, 20.0)] * 10) > 0


LOSSES = {"lidar": 0.2, "fused": 0.1, "night fused": 1.5, "car lidar": 9.0}
ERRORS = {"lidar": 0.3, "fused": 0.2, "night fused": 0.9}


def verdict_of(errors):
    loss, error = gated_loss(LOSSES, errors, ("lidar", "fused"))
    return Verdict(loss=loss, base=60.0, score=59.0, slices=LOSSES, error=error, errors=errors)


def test_a_slice_counts_where_its_loss_is_no_chance():
    assert gated_loss(LOSSES, ERRORS, ("lidar", "fused")) == (0.2, 0.3)
    sure = {**ERRORS, "night fused": 0.5}
    assert gated_loss(LOSSES, sure, ("lidar", "fused")) == (1.5, 0.5)


def test_what_few_frames_cannot_tell_passes_and_is_named_and_is_refused_by_a_sure_gate():
    verdict, gate = verdict_of(ERRORS), Gate(points=1.0)
    assert gate.holds(verdict)
    assert gate.untold(verdict) == ["night fused"]
    outcome = Outcome(step="quantize", subject="small")
    tell_doubts(outcome, Candidate(name="x", data=b"", precision="", verdict=verdict), gate, 20)
    told = {f.code: f.text for f in outcome.findings}
    assert set(told) == {"slice_not_told", "slice"}  # the whole is within, also its interval
    assert "night fused loses 1.50 points" in told["slice_not_told"]
    assert "(-0.26 to 3.26 with 95 %)" in told["slice_not_told"]
    assert "car lidar loses 9.00 points" in told["slice"]
    assert not Gate(points=1.0, sure=True).holds(verdict)
    assert Gate(points=3.3, sure=True).holds(verdict)
    assert not Gate(points=3.2, sure=True).holds(verdict)


def test_what_does_not_run_is_within_no_gate():
    assert not Gate(points=100.0).holds(failed(RuntimeError("no kernel\nat all")))
    assert not Gate(points=100.0, sure=True).holds(failed(RuntimeError("no kernel")))


class CountingJudge:
    """A judge that may judge once."""

    what, about, frames = "mAP", "set", 7

    def __init__(self):
        self.runs = 0

    def judge(self, _session):
        self.runs += 1
        return verdict_of(ERRORS)


def test_a_comparison_goes_on_with_the_verdicts_that_it_has(tmp_path, monkeypatch):
    from edge_perception.optimize import comparing

    session = SimpleNamespace(backend=SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(comparing, "open_bundle", lambda *_: session)
    judge = CountingJudge()

    def judged(frames):
        way = SimpleNamespace(
            bundle=SimpleNamespace(sha256="5"), backend="onnxruntime", options=lambda: None
        )
        outcome = Outcome(step="compare", subject="small")
        comparison = Comparing(
            [way], ["small"], judge, outcome, lambda _: None,
            remembered=Remembered(tmp_path / "r.json"), about=frames,
        )  # fmt: skip
        return comparison._judged(way, "small")

    assert judged("drive") == judged("drive")
    assert judge.runs == 1
    judged("another drive")
    assert judge.runs == 2


def test_the_table_is_read_by_people():
    row = {
        "candidate": "nncf", "bytes": 263589, "score_points": 69.7, "loss_points": 0.15,
        "loss_low": -0.51, "loss_high": 0.81, "ratio": 0.3, "ratio_low": 0.25, "ratio_high": 0.39,
        "p50_ms": float("nan"), "memory_mb": None, "within_gate": True, "note": "",
    }  # fmt: skip
    assert readable([row]) == [{
        "candidate": "nncf", "kB": "264", "score": "69.70", "p50 ms": "-", "memory MB": "-",
        "loss (95 %)": "0.15 (-0.51 to 0.81)", "time (turns)": "0.30 (0.25 to 0.39)",
        "gate": "within",
    }]  # fmt: skip


@pytest.mark.parametrize(
    ("models", "judge", "text"),
    [
        (None, "auto", "theirs decides 0 times"),  # by agreement
        (None, "labels", "--models: expected a set of feature space theirs_1"),
        (share_file("models/bev_lite"), "auto", "--models: expected a set of feature space"),
    ],
)
def test_a_model_of_no_set_is_judged_by_agreement(
    monkeypatch: pytest.MonkeyPatch, models: Path | None, judge: str, text: str
) -> None:
    """There are labels, but no fused view that the model of somebody else is part of."""
    monkeypatch.setattr("edge_perception.evaluation.recorded.RecordedFrames", lambda *_: object())
    manifest = SimpleNamespace(name="theirs", role="camera", feature_space="theirs_1")
    args = SimpleNamespace(
        skip=0, simulated=0, judge=judge, judge_bag=[], bag=[Path("drive.mcap")], params_file=None,
        judge_frames=10, models=models,
    )  # fmt: skip
    bundle = SimpleNamespace(manifest=manifest, sha256="1")
    with ExitStack() as stack, pytest.raises(ConfigurationError, match=text):
        make_judge(args, bundle, None, ([], []), stack)
