"""Watches the node clock against the steady clock: jumps, pauses, and clocks that never started."""

from __future__ import annotations

from edge_perception.core.types import Instant
from edge_perception.fusion.config import NS

# A callback may note its time before another one and take the lock after it: a few milliseconds
# backwards are no jump.
BACKWARD_NS = NS // 10
FORWARD_NS = NS // 2
# Replay up to this many times real time is no jump either.
MAX_CLOCK_RATE = 20
PAUSE_NS = 3 * NS // 10
# Features that were on their way when the clock jumped still arrive for this long.
IN_FLIGHT_NS = NS
TOLD_FOR_NS = 5 * NS
# Silence and deadlines are in real time: at this rate of the node clock one frame after the other
# of a source that keeps its rate is late (LATE_PERIODS).
SLOW_RATE, RATE_OVER_NS = 0.5, NS
FAST_RATE = 2.0  # evidence grows old so much faster than models can be run


class ClockWatch:
    """Compares successive moments on both clocks."""

    def __init__(self, start: Instant) -> None:
        self.last = start
        self.jumps = 0
        self._moved_steady_ns = start.steady_ns  # when the node clock last moved
        self._jump_steady_ns: int | None = None
        self._jump_s = 0.0
        self._before_jump_ns = 0
        self._coarse, self._step_ns = 0, 0  # coarse steps in a row, and the last step
        self._stood_ns = 0  # for so long it was seen not to move since it moved
        self._rate_since = start
        self._rate = 1.0  # of the node clock to the steady one, of late

    def observe(self, now: Instant) -> bool:
        """Take in a moment; True when the node clock jumped since the last one."""
        last, still_ns = self.last, now.steady_ns - self._moved_steady_ns
        steady_step = now.steady_ns - last.steady_ns
        if steady_step < 0:
            return False
        node_step = now.node_ns - last.node_ns
        self.last = now
        if node_step:
            self._moved_steady_ns = now.steady_ns
            # It was seen to stand still and goes on by as much: /clock comes seldom.
            is_coarse = self._stood_ns > PAUSE_NS and abs(node_step - still_ns) < still_ns // 2
            self._coarse = self._coarse + 1 if is_coarse else 0
            self._step_ns, self._stood_ns = node_step, 0
        else:
            self._stood_ns = still_ns
        since_ns = now.steady_ns - self._rate_since.steady_ns
        if since_ns >= RATE_OVER_NS:
            self._rate = (now.node_ns - self._rate_since.node_ns) / since_ns
            self._rate_since = now
        excess = node_step - (still_ns if self._coarse else steady_step)
        if node_step >= -BACKWARD_NS and excess <= max(FORWARD_NS, MAX_CLOCK_RATE * steady_step):
            return False
        if last.node_ns == 0:  # the first /clock message
            return False
        self.jumps += 1
        self._rate_since, self._rate = now, 1.0
        self._jump_steady_ns = now.steady_ns
        self._jump_s = excess / NS
        self._before_jump_ns = last.node_ns
        return True

    def is_from_before_jump(self, stamp_ns: int, slack_ns: int) -> bool:
        """Whether a stamp ahead of the clock was taken just before the clock jumped back."""
        return (
            self._jump_steady_ns is not None
            and self.last.steady_ns - self._jump_steady_ns <= IN_FLIGHT_NS
            and -IN_FLIGHT_NS <= stamp_ns - self._before_jump_ns <= slack_ns
        )

    def note(self) -> str:
        """Say what is odd about the node clock; empty: nothing."""
        last = self.last
        if last.node_ns == 0:
            return "node clock is at zero: use_sim_time without /clock?"
        still_ns = last.steady_ns - self._moved_steady_ns
        if self._coarse > 1 and still_ns < 3 * self._step_ns:
            step_s = self._step_ns / NS
            return f"node clock goes in steps of {step_s:.2g} s: let /clock come more often"
        if still_ns > PAUSE_NS:
            return f"node clock stands still for {still_ns / NS:.1f} s: playback paused?"
        if self._jump_steady_ns is not None:
            since_ns = last.steady_ns - self._jump_steady_ns
            if since_ns <= TOLD_FOR_NS:
                return f"node clock jumped {self._jump_s:+.2f} s, {since_ns / NS:.1f} s ago"
        if 0.0 < self._rate < SLOW_RATE:
            return (
                f"node clock runs at {self._rate:.2g} of real time, in which silence is: set "
                "rate_hz to what comes in real time"
            )
        if self._rate > FAST_RATE:
            return f"node clock runs at {self._rate:.2g} times real time: play more slowly"
        return ""
