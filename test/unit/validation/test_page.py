"""The page of many recordings: pictures for those that failed, tables for all."""

from edge_perception.validation.findings import Finding
from edge_perception.validation.page import MOST_PICTURED, pictured_runs
from edge_perception.validation.result import BagResult
from edge_perception.validation.settings import ReplaySettings


def results(tmp_path, count, failed=()):
    for number in range(count):
        result = BagResult(
            name=f"bag_{number:03d}", settings=ReplaySettings(bag="bag.mcap"), folder=tmp_path
        )
        if number in failed:
            result.findings.append(Finding(kind="objects", text="car moved"))
        yield result


def test_few_recordings_are_all_pictured(tmp_path):
    assert len(pictured_runs(list(results(tmp_path, MOST_PICTURED)))) == MOST_PICTURED


def test_of_many_those_that_failed_come_first(tmp_path):
    pictured = pictured_runs(list(results(tmp_path, 120, failed=(70, 119))))
    assert len(pictured) == MOST_PICTURED
    assert {"bag_070", "bag_119", "bag_000"} <= pictured
