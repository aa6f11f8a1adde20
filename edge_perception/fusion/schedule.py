"""When a cycle closes; times of the steady clock in nanoseconds, and nothing else."""

from __future__ import annotations

from edge_perception.core.types import ClosedBy, Mode
from edge_perception.fusion.config import NS, CycleConfig


class Schedule:
    """Deadlines of the open cycle, ticks of the timer, and the heartbeat when nothing is open."""

    def __init__(self, config: CycleConfig, start_ns: int) -> None:
        self.last_output_ns = self.next_tick_ns = start_ns
        self._settle_ns = 0
        self._sees = False  # the last output located objects
        self._mode_deadline_s = 0.0  # of the present mode; 0: as configured
        self.configure(config, start_ns)

    def configure(self, config: CycleConfig, now_ns: int) -> None:
        """Take new times."""
        self.fixed = config.policy == "fixed_rate"
        self._tick_ns = round(NS / config.rate_hz)
        self._config = config
        self._set_deadline(self._mode_deadline_s)
        self._heartbeat_ns = round(config.heartbeat_s * NS)
        if not now_ns <= self.next_tick_ns <= now_ns + self._tick_ns:
            self.next_tick_ns = now_ns + self._tick_ns

    def _set_deadline(self, mode_deadline_s: float) -> None:
        self._mode_deadline_s = mode_deadline_s
        self.deadline_s = mode_deadline_s or self._config.deadline_s
        margin_s = min(self._config.deadline_margin_s, self.deadline_s / 2)
        self._reach_ns = round((self.deadline_s - margin_s) * NS)

    def close_by_ns(self, opened_ns: int) -> int:
        """Within the deadline of the opening, and of the last output if that leaves time to wait.

        Without the second part a source slower than the deadline would never be waited for.
        """
        since_output_ns = self.last_output_ns + self._reach_ns
        fair_ns = opened_ns + self._reach_ns // 2
        return min(opened_ns + self._reach_ns, max(since_output_ns, fair_ns))

    def due(
        self, *, complete: bool, settle_ns: int, opened_ns: int, now_ns: int
    ) -> ClosedBy | None:
        """Decide whether the open cycle closes now.

        Args:
            complete: all live sources delivered, and their stamps fit.
            settle_ns: until when a better match is worth waiting for; 0: not at all.
            opened_ns: when the cycle opened.
            now_ns: the present moment.
        """
        expired = now_ns >= self.close_by_ns(opened_ns)
        self._settle_ns = settle_ns if complete else 0
        if complete and (expired or now_ns >= settle_ns):
            return ClosedBy.COMPLETE
        return ClosedBy.DEADLINE if expired else None

    def idle_until_ns(self) -> int:
        """When to speak while no source sets the pace: at once when sight is lost."""
        return self.last_output_ns + (0 if self._sees else self._heartbeat_ns)

    def take_tick(self, now_ns: int) -> int | None:
        """Return the tick that is due, the newest one when several were missed."""
        if now_ns < self.next_tick_ns:
            return None
        missed = (now_ns - self.next_tick_ns) // self._tick_ns
        tick_ns = self.next_tick_ns + missed * self._tick_ns
        self.next_tick_ns = tick_ns + self._tick_ns
        return tick_ns

    def on_output(self, now_ns: int, mode: Mode, mode_deadline_s: float = 0.0) -> None:
        """Note an output, whose mode sets the deadline of the next one; 0: as configured."""
        if mode_deadline_s != self._mode_deadline_s:
            self._set_deadline(mode_deadline_s)
        self.last_output_ns = now_ns
        self._settle_ns = 0
        self._sees = mode > Mode.MINIMAL

    def next_ns(self, *, opened_ns: int | None, pacing: bool, late_ns: list[int]) -> int | None:
        """Return when to look again if nothing arrives.

        Args:
            opened_ns: when the open cycle opened; None: none is open.
            pacing: whether a source that sets the pace lives.
            late_ns: when each live source becomes LATE.
        """
        if self.fixed:
            return self.next_tick_ns
        times = list(late_ns)
        if opened_ns is not None:
            times.append(self.close_by_ns(opened_ns))
            if self._settle_ns:
                times.append(self._settle_ns)
        elif not pacing:
            times.append(self.idle_until_ns())
        return min(times, default=None)
