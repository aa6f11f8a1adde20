"""A level rises at once and falls when the better one has lasted."""

from __future__ import annotations

from edge_perception.core.health import Debounce, Health, Level

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
