"""The compiled filter gives the bits of the one in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from edge_perception.core import native
from edge_perception.fusion.track_filter import Window, walk, walk_numpy


def window_of(rng: np.random.Generator, tracks: int, places: int) -> Window:
    counts = rng.integers(1, places + 1, tracks)
    noise = rng.uniform(0.01, 2.0, (places, 3, tracks))
    noise[:, 1] *= 0.001
    return Window(
        places_m=rng.normal(scale=30.0, size=(places, 2, tracks)),
        noise_m2=noise,
        times_s=-np.cumsum(rng.uniform(0.01, 0.25, (places, tracks)), axis=0),
        counts=counts,
    )


@pytest.mark.parametrize(("tracks", "places"), [(0, 1), (1, 1), (1, 24), (19, 24), (400, 24)])
def test_same_bits_as_numpy(tracks, places):
    assert native.library() is not None
    rng = np.random.default_rng(tracks + places)
    window = window_of(rng, tracks, places)
    last = window.counts - 1
    steps = int(last.max(initial=0))
    active = np.arange(steps)[:, None] < last
    dt = np.where(active, window.times_s[:steps] - window.times_s[1 : steps + 1], 0.0)
    acceleration = rng.uniform(0.1, 8.0, tracks)
    results = []
    for run in (walk, walk_numpy):
        state = np.concatenate([window.places_m[0], np.full((2, tracks), 0.5)])
        P = np.zeros((4, 4, tracks))
        P[0, 0], P[0, 1], P[1, 1] = window.noise_m2[0]
        P[1, 0], P[2, 2], P[3, 3] = P[0, 1], 9.0, 9.0
        surprise = run(window, dt, acceleration, state, P)
        results.append((state.tobytes(), P.tobytes(), surprise.tobytes()))
    assert results[0] == results[1]
    if steps > 2:
        assert np.frombuffer(results[0][2]).max() > 0.0
