"""How many messages did not arrive, and when that is said."""

import pytest

from edge_perception.encoders.arrivals import Arrivals, ArrivalWindow

NS = 1_000_000_000


def said(*counts, step_s=1.0):
    """Feed counts of one topic at a distance; return what is said at the end."""
    window, found = ArrivalWindow(), {}
    for index, (received, lost) in enumerate(counts):
        arrivals = {"/points": Arrivals(received=received, lost=lost)}
        found = window.step(arrivals, round(index * step_s * NS))
    return found.get("/points", "")


def test_a_third_that_is_lost_is_said_with_what_to_do():
    text = said((0, 0), (20, 10), (40, 20))
    assert text.startswith("20 of 60 messages on /points did not arrive in the last 2 s")
    assert "edge-perception transport" in text
    assert "qos_overrides./points.subscription.reliability: reliable" in text


@pytest.mark.parametrize(
    "counts",
    [
        [(0, 0), (100, 0)],
        [(0, 0), (10, 2)],  # a few at the start
        [(0, 0), (1000, 4)],  # less than one in fifty
        [(0, 50), (100, 50)],  # before anybody looked
    ],
)
def test_what_is_no_news(counts):
    assert said(*counts) == ""


def test_it_is_forgotten_after_the_window():
    lossy = [(10 * n, 10 * n) for n in range(5)]
    clean = [(40 + 10 * n, 40) for n in range(1, 12)]
    assert "did not arrive" in said(*lossy, *clean[:5])
    assert said(*lossy, *clean) == ""
