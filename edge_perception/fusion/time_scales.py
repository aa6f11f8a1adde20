"""What a constant distance of stamps from system time says of the clock behind them."""

from __future__ import annotations

# Seconds ahead of UTC since 2017. PTP hands TAI on, and its offset beside it, which sensors and
# drivers have to apply.
_SCALES = ((37.0, "TAI, as PTP counts it, is 37 s"), (18.0, "GPS time is 18 s"))
_SLOW_S, _FAST_S = 0.6, 0.1  # a message is on its way so long; clocks of one scale are so apart
_ZONE_S, _FARTHEST_S = 1800.0, 14 * 3600.0  # of local times; few have quarters of an hour


def scale_told(ahead_s: float) -> str:
    """Name the time scale that is so far from UTC; empty: none is.

    Args:
        ahead_s: of stamps on arrival; negative: they are behind.
    """
    for scale_s, what in _SCALES:
        for sign in (1.0, -1.0):
            if _is_near(ahead_s, sign * scale_s):
                return f"{what} ahead of UTC"
    zone_s = _ZONE_S * round(ahead_s / _ZONE_S)
    if zone_s and abs(zone_s) <= _FARTHEST_S and _is_near(ahead_s, zone_s):
        return f"{zone_s / 3600.0:+g} h: local time in the place of UTC?"
    return ""


def _is_near(ahead_s: float, scale_s: float) -> bool:
    return -_SLOW_S <= ahead_s - scale_s <= _FAST_S
