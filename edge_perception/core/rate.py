"""Arrivals a second over a sliding window, in constant memory."""

from __future__ import annotations

from collections import deque

WINDOW_S = 2.0
WINDOW_PERIODS = 5.0  # a window holds at least so many: a slow stream in time has no rate of zero


def window_for(rate_hz: float) -> float:
    """Return the window, s, over which a stream of an expected rate is counted."""
    return max(WINDOW_S, WINDOW_PERIODS / rate_hz)


def hertz(rate_hz: float) -> str:
    """Return a rate as text: one digit behind the point, more where the rate is low."""
    return f"{rate_hz:.1f}" if rate_hz >= 1.0 or rate_hz == 0.0 else f"{rate_hz:.2g}"


class RateMeter:
    """Counts arrivals on the steady clock.

    The rate falls to zero by itself when nothing arrives any more: it is computed up to now, not
    up to the last arrival.
    """

    def __init__(self, *, window_s: float = WINDOW_S, capacity: int = 512) -> None:
        self._window_ns = round(window_s * 1e9)
        self._arrivals: deque[int] = deque(maxlen=capacity)
        self._since_ns: int | None = None

    def set_window(self, window_s: float) -> None:
        """Count over another window from now on, as for a stream that is expected to be slow."""
        self._window_ns = round(window_s * 1e9)

    def add(self, steady_ns: int) -> None:
        """Record one arrival."""
        if self._since_ns is None:
            self._since_ns = steady_ns
        self._arrivals.append(steady_ns)

    def rate_hz(self, steady_ns: int) -> float:
        """Return the arrivals a second over the window that ends now."""
        if self._since_ns is None:
            return 0.0
        start_ns = steady_ns - self._window_ns
        while self._arrivals and self._arrivals[0] <= start_ns:
            self._arrivals.popleft()
        if not self._arrivals:
            return 0.0
        # A window that is not full yet, or overflowed its capacity, counts the intervals it has.
        if self._since_ns > start_ns or len(self._arrivals) == self._arrivals.maxlen:
            span_ns = steady_ns - self._arrivals[0]
            return (len(self._arrivals) - 1) / (span_ns / 1e9) if span_ns > 0 else 0.0
        return len(self._arrivals) / (self._window_ns / 1e9)
