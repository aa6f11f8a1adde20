"""A tenth of `make starts`: nodes that are ended at random moments.

Within 2 s is for `make starts` to say, on a machine that does nothing else.
"""

from __future__ import annotations

import os
import sys

import pytest

from edge_perception.faults import starts as starts_module
from edge_perception.faults.starts import COMPOSED, SEPARATE, run_starts
from edge_perception.running.ending import signals_held

DEAF = """#!{python}
import time
def deaf_to_signals():
    time.sleep(60)
deaf_to_signals()
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("setup", ["composed", "separate", "composed beside separate"])
def test_every_process_ends_with_0_and_says_nothing(ros_domain, setup):
    count = {"composed": 6, "separate": 10, "composed beside separate": 4}[setup]
    starts = run_starts(count, seed=count, longest_s=4.0, setups=[setup])
    assert len(starts) >= count
    bad = [start for start in starts if start.code or start.said]
    for start in bad:
        print(start.executable, start.said, sep="\n")  # whole: of the list below pytest cuts it
    assert bad == []


def test_a_process_that_never_ends_says_where_it_is(tmp_path, monkeypatch):
    for name in (*SEPARATE, COMPOSED):
        (tmp_path / name).write_text(DEAF.format(python=sys.executable))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(starts_module, "_NEVER_S", 4.0)
    with signals_held():  # and for those that are started meanwhile
        (start,) = run_starts(1, seed=5, longest_s=2.0, setups=["audio_encoder"])
    assert start.code != 0
    assert "deaf_to_signals" in start.said
