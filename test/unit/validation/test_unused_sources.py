"""A source of which messages came and not one was used: no verdict passes over it."""

from pathlib import Path

import pytest

from edge_perception.validation.judging import unused_findings
from edge_perception.validation.metrics import RunFigures
from edge_perception.validation.result import BagResult
from edge_perception.validation.settings import ReplaySettings

REFUSED = {"state": "INVALID", "reason": "stamp 37.00 s ahead", "received": 3, "contributed": False}
SILENT = {"state": "STALE", "reason": "silence 0.5 s", "received": 3, "contributed": False}
MISSING = {"state": "MISSING", "reason": "nothing", "received": 0, "contributed": False}
USED = {"state": "OK", "reason": "", "received": 3, "contributed": True}


def findings(*statuses, **settings):
    figures = RunFigures(0, None)
    for index, status in enumerate(statuses):
        figures.add(
            {
                "published_ns": index * 10**8, "valid": True, "deadline_missed": False,
                "mode": "FULL", "level": "HYBRID", "objects": [], "sound_events": [],
                "end_to_end_s": 0.1, "wait_s": 0.1, "fusion_s": 0.1,
                "sources": [{"source": "lidar", "age_s": 0.1, "warning": "", **status}],
            }
        )  # fmt: skip
    result = BagResult(
        name="a", settings=ReplaySettings(bag="a.mcap", **settings), folder=Path("a")
    )
    result.figures = figures
    return unused_findings(result)


def test_what_came_and_was_never_used_fails_with_the_first_reason():
    (found,) = findings(MISSING, REFUSED, SILENT)
    assert found.failed
    assert found.text == "lidar: 3 came and not one was used, of 3 messages: stamp 37.00 s ahead"


@pytest.mark.parametrize("statuses", [(REFUSED, USED, SILENT), (MISSING, MISSING)])
def test_what_was_used_once_or_never_came_is_no_such_finding(statuses):
    assert findings(*statuses) == []


def test_what_was_not_used_for_a_good_part_is_told_and_fails_nothing():
    """A calibration that came late, stamps of a loop that was recorded."""
    (found,) = findings(*[REFUSED] * 6, *[USED] * 10, SILENT)
    assert not found.failed
    assert found.text == ("lidar: what came was not used in 6 of 17 messages: stamp 37.00 s ahead")


BACK = {**REFUSED, "state": "INVALID", "reason": "stamp went back 1750000000.100 s"}
OLD = [
    {**REFUSED, "state": "STALE", "reason": f"age {age:.2f} s > 0.50 s"} for age in (7.1, 7.2, 8)
]


@pytest.mark.parametrize("used", [True, False])
def test_of_several_reasons_that_of_most_is_told_with_how_many_have_it(used):
    """A sensor that starts anew: its stamps go back once, and are old from then on."""
    (found,) = findings(BACK, BACK, *OLD, SILENT, *[USED] * used)
    assert found.failed is not used
    assert found.text.endswith(" messages: age 7.10 s > 0.50 s (3 of 5)")


@pytest.mark.parametrize("statuses", [[REFUSED] * 4 + [USED], [USED] * 9 + [SILENT] * 9])
def test_a_start_and_a_silence_are_not_told_as_unused(statuses):
    assert findings(*statuses) == []


def test_a_replay_that_was_changed_on_purpose_is_not_blamed():
    assert findings(REFUSED, drop=("lidar@0s-9s",)) == []
    assert len(findings(REFUSED, subset=("lidar",))) == 1


TURNED = {**USED, "warning": "lidar: the road is not below the sensor"}


@pytest.mark.parametrize(("doubted", "used", "told"), [(2, 2, True), (1, 0, False), (3, 4, False)])
def test_what_is_doubtful_for_most_of_a_drive_is_told(doubted, used, told):
    found = findings(MISSING, *[TURNED] * doubted, *[USED] * used, SILENT)
    assert bool(found) is told
    for each in found:
        assert not each.failed
        assert each.text == (
            f"lidar: doubtful in {doubted} of {doubted + used} messages that used it: "
            "the road is not below the sensor"
        )
