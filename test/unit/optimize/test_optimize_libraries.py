"""What the libraries of the extra `optimize` need around them."""

from __future__ import annotations

import os

from edge_perception.optimize.libraries import free_abandoned_builds


def test_a_lock_that_nobody_holds_is_taken_away_and_another_is_not(tmp_path):
    held, left = tmp_path / "a" / "1.0" / "lock", tmp_path / "b" / "1.0" / "lock"
    for path in (held, left):
        path.parent.mkdir(parents=True)
    descriptor = os.open(held, os.O_CREAT | os.O_EXCL)  # as PyTorch holds it
    left.touch()
    try:
        assert free_abandoned_builds(tmp_path) == [left]
        assert held.exists()
        assert not left.exists()
    finally:
        os.close(descriptor)
    assert free_abandoned_builds(tmp_path / "none") == []
