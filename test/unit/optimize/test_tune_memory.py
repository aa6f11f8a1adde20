"""What a model takes of memory is its own, whatever ran before it."""

import os
from pathlib import Path

import pytest

from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.optimize.configuration import Configuration
from edge_perception.optimize.measuring import Runner, alone

NEAR_MB = 3.0  # allocators round up, and differently each time


def of(name, **options):
    return Configuration(bundle=find_bundle(name, installed_model_folders()), **options)


def test_memory_does_not_depend_on_the_order_of_loading():
    ways = [
        of("bev_lite/audio"),
        of("bev_lite/lidar"),
        of("bev_lite_int8/lidar"),
        of("bev_lite/lidar", threads=2),
        of("bev_lite/audio", threads=2),
    ]
    took = []
    for order in (ways, ways[::-1]):
        told = {way.name: told for way, told in alone("lidar", order, runs=1)}
        assert not [item for item in told.values() if "error" in item]
        took.append({name: item["memory_mb"] for name, item in told.items()})
        assert all(item["runtime_mb"] > 1.0 for item in told.values())
    for name, first in took[0].items():
        assert took[1][name] == pytest.approx(first, abs=NEAR_MB), name
        assert first > 1.0
    assert took[0][ways[1].name] > took[0][ways[0].name]


def test_the_processes_of_ways_are_gone_afterwards(audio_way):
    seen = set()
    for _, told in alone("audio", [audio_way] * 3, runs=1):
        seen |= runners_below(os.getpid())  # other tests of the machine have theirs
        assert told["p50_ms"] > 0
    assert seen
    assert not [pid for pid in seen if "optimize.runner" in command_of(pid)]


def test_beside_others_no_memory_is_told(audio_way):
    with Runner({"audio": audio_way, "lidar": of("bev_lite/lidar")}) as runner:
        assert all("memory_mb" not in told for told in runner.told.values())


@pytest.fixture
def audio_way():
    return of("bev_lite/audio")


def runners_below(pid):
    """Return the helpers among the descendants of a process."""
    children = [
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    ]
    found = {child for child in children if "optimize.runner" in command_of(child)}
    return found.union(*map(runners_below, children))


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""
