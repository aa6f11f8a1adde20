"""Distances from UTC that clocks of another time scale have, less the way here."""

import pytest

from edge_perception.fusion.time_scales import scale_told


@pytest.mark.parametrize(
    ("ahead_s", "told"),
    [
        (36.95, "TAI, as PTP counts it, is 37 s ahead of UTC"),
        (-37.3, "TAI, as PTP counts it, is 37 s ahead of UTC"),
        (17.8, "GPS time is 18 s ahead of UTC"),
        (8 * 3600 - 0.1, "+8 h: local time in the place of UTC?"),
        (-5.5 * 3600 - 0.1, "-5.5 h: local time in the place of UTC?"),
        (38.0, ""),
        (900.0, ""),
        (3 * 3600 + 2.0, ""),
        (86400.0, ""),
        (0.0, ""),
    ],
)
def test_a_scale_is_named_by_its_distance_from_utc(ahead_s, told):
    assert scale_told(ahead_s) == told
