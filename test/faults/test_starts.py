"""A tenth of `make starts`: nodes that are ended at random moments."""

from __future__ import annotations

import pytest

from edge_perception.faults.starts import run_starts, summary


@pytest.mark.timeout(180)
@pytest.mark.parametrize("setup", ["composed", "separate", "composed beside separate"])
def test_every_process_ends_with_0_and_in_time(ros_domain, setup):
    count = {"composed": 6, "separate": 10, "composed beside separate": 4}[setup]
    figures = summary(run_starts(count, seed=count, longest_s=4.0, setups=[setup]))
    assert figures["starts"] >= count
    assert figures["failed"] == []
