"""A tenth of `make starts`: nodes that are ended at random moments.

Within 2 s is for `make starts` to say, on a machine that does nothing else.
"""

from __future__ import annotations

import pytest

from edge_perception.faults.starts import run_starts


@pytest.mark.timeout(180)
@pytest.mark.parametrize("setup", ["composed", "separate", "composed beside separate"])
def test_every_process_ends_with_0_and_says_nothing(ros_domain, setup):
    count = {"composed": 6, "separate": 10, "composed beside separate": 4}[setup]
    starts = run_starts(count, seed=count, longest_s=4.0, setups=[setup])
    assert len(starts) >= count
    assert [start for start in starts if start.code or start.said] == []
