"""A level rises at once and falls when the better one has lasted; OK needs young evidence."""

from __future__ import annotations

import itertools

import pytest

from edge_perception.core.health import Debounce, Health, Level, Report

MS = 1_000_000


def test_worse_at_once_better_after_its_time():
    debounce = Debounce(0.3)
    good, bad = Health(level=Level.OK, message="10 Hz"), Health(level=Level.ERROR, message="dead")

    def step(health, ms):
        return debounce.step(health, ms * MS)

    assert step(good, 0).level is Level.OK
    assert step(bad, 10).level is Level.ERROR
    held = step(good, 20)
    assert held.level is Level.ERROR
    assert "dead" in held.message
    assert "gone for 0.0 s" in held.message
    assert step(bad, 100).message == "dead"  # back: the time starts anew
    assert step(good, 200).level is Level.ERROR
    assert step(good, 499).level is Level.ERROR
    assert step(good, 500) is good


def test_a_warning_does_not_hide_behind_an_error_that_is_gone_for_ever():
    debounce = Debounce(0.3)
    debounce.step(Health(level=Level.ERROR, message="dead"), 0)
    warn = Health(level=Level.WARN, message="slow")
    debounce.step(warn, 100 * MS)
    assert debounce.step(warn, 400 * MS) is warn


def ok(evidence_s, period_s=0.1):
    return Health(level=Level.OK, message="10 Hz", evidence_s=evidence_s, period_s=period_s)


def test_ok_is_never_said_with_evidence_older_than_a_period():
    report, said = Report(repeat_s=0.95), []
    for check in range(1000):
        # One frame of ten is lost: the evidence is between 1 and 201 ms old.
        evidence_s = 0.001 + check * 0.0317 % (0.2 if check % 10 == 0 else 0.1)
        for health in report.step({"node": ok(evidence_s)}, check * 100 * MS).values():
            said.append(check)
            assert health.level is Level.OK
            assert health.evidence_s <= health.period_s
    gaps = [after - before for before, after in itertools.pairwise(said)]
    assert max(gaps) <= 12, "a lost frame delays what is said by a check or two"
    assert min(gaps) >= 9, "nobody is flooded"


def test_what_stays_overdue_is_a_warning_with_value_and_limit():
    report = Report(repeat_s=1.0)
    assert not report.step({"node": ok(11.0, period_s=10.0)}, -5000 * MS)
    assert report.step({"node": ok(12.0, period_s=10.0)}, -4000 * MS)["node"].level is Level.WARN
    slow = {"node": ok(10.0, period_s=10.0)}
    assert report.step(slow, 0)["node"].level is Level.OK
    late = {"node": ok(11.5, period_s=10.0)}
    assert not report.step(late, 1500 * MS)
    said = report.step(late, 2000 * MS)["node"]
    assert said.level is Level.WARN
    assert said.message == "last frame 11.50 s ago > 10.00 s"


@pytest.mark.parametrize("level", [Level.WARN, Level.ERROR])
def test_anything_but_ok_is_said_at_once_and_of_its_part_only(level):
    report = Report(repeat_s=1.0)
    report.step({"node": ok(0.0), "node: camera": ok(0.0)}, 0)
    bad = Health(level=level, message="dead", evidence_s=5.0, period_s=0.1)
    assert report.step({"node": ok(0.05), "node: camera": bad}, 100 * MS) == {"node: camera": bad}
    assert not report.step({"node": ok(0.05), "node: camera": bad}, 200 * MS)
    assert list(report.step({"node": ok(0.05), "node: camera": bad}, 1000 * MS)) == ["node"]
