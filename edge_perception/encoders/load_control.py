"""Decides what a source gives up when its frames take too long, and when it takes it back.

Pure logic on an explicit clock. The ladder goes from nothing given up to everything; one step at a
time, each after a time of its own, and each told. Overload is frames that take too long, or a
source that is always at work and still does not get to more than every fifth frame: those are
overwritten by chance, and what is skipped instead is planned. What keeps it from swinging: after a
step nothing is counted that was measured before it; a step back needs that the frames *would* fit
again, by what the step was seen to save; and a step back that did not last doubles the time until
the next.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter

NS = 1_000_000_000
FROM_PLAN = "plan"  # among variants: those that measured cheaper
_QUANTILE = 80  # of the time of frames, percent: every fifth frame late is too many
_LATE_SHARE = 1.0 - _QUANTILE / 100
_LEAK = _LATE_SHARE / (1.0 - _LATE_SHARE)  # overload that share of the time never adds up
_MOST_WORK = 1.0 / (1.0 - _LATE_SHARE)  # of what one can do; more, and every fifth frame is lost
_LEAST_FRAMES = 5  # fewer say nothing
_LASTED = 6.0  # waits after a step back; overloaded again sooner, it did not last
_MOST_DOUBLINGS = 6
_FORGET = 12.0  # quiet waits until one doubling is forgotten
_HALVES = 4.0  # waits in which what a step is believed to save halves: loads change


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What a source may give up under load; off while the budget is 0 and heat is not asked."""

    budget_ms: float = parameter(
        0.0,
        "from arrival to feature; more than every fifth frame longer, or overwritten before the "
        "source gets to it, is overload; 0: no load control",
        unit="ms",
        low=0.0,
        high=60000.0,
        dynamic=True,
    )
    reuse_max_age_s: float = parameter(
        0.0,
        "first step: the output of a frame serves for later ones that hardly differ, for so long; "
        "0: not a step",
        unit="s",
        low=0.0,
        high=10.0,
    )
    reuse_change: float = parameter(
        1.0,
        "how much a reused frame may differ, of what the modality calls hardly",
        unit="1",
        low=0.0,
        high=10.0,
        dynamic=True,
    )
    reuse_near_m: float = parameter(
        20.0,
        "nothing is reused while an object nearer than this moves, or may",
        unit="m",
        low=0.0,
        high=1000.0,
        dynamic=True,
    )
    variants: tuple[str, ...] = parameter(
        (),
        "next steps: cheaper bundles of the same feature space and inputs, in this order; plan: "
        "those that measured cheaper for `device_plan`",
    )
    condition_variants: bool = parameter(
        False,
        "a variant that fusion's policy names for the conditions serves while they hold, with or "
        "without a budget; a step that has a variant of its own comes first",
    )
    most_skipped: int = parameter(
        0, "last steps: so many frames skipped for one that is not, one more a step", low=0, high=9
    )
    importance: int = parameter(
        0,
        "a source waits 1 + importance times over_s before each step, and the less important ones "
        "that share the machine give up first",
        low=0,
        high=20,
    )
    over_s: float = parameter(
        1.0, "overload this long is a step", unit="s", low=0.1, high=600.0, dynamic=True
    )
    back_s: float = parameter(
        5.0, "head-room this long is a step back", unit="s", low=0.1, high=3600.0, dynamic=True
    )
    hottest_c: float = parameter(
        0.0,
        "a sensor of the machine above this is overload too; 0: temperatures are not asked",
        unit="°C",
        low=0.0,
        high=150.0,
    )
    throttling: bool = parameter(
        False, "a machine that slows itself for heat or power is overload too"
    )
    headroom: float = parameter(
        0.7,
        "share of the budget that frames must fit into after a step back",
        low=0.1,
        high=1.0,
        dynamic=True,
    )
    models_mb: int = parameter(
        512,
        "memory of all models of the node, by their measured peaks; variants are loaded when "
        "needed and the least recently used leave",
        unit="MB",
        low=16,
        high=2**20,
    )

    @property
    def on(self) -> bool:
        """Whether there is load control."""
        return self.budget_ms > 0.0 or self.asks_heat

    @property
    def asks_heat(self) -> bool:
        """Whether the heat of the machine is an input."""
        return self.hottest_c > 0.0 or self.throttling


@dataclass(frozen=True, kw_only=True)
class LoadStep:
    """What is given up at one place of the ladder."""

    reuse: bool = False
    variant: str = ""  # bundle that serves instead; empty: the model itself
    skipped: int = 0  # frames for one that is not

    def __str__(self) -> str:
        parts = (
            "unchanged frames reused" if self.reuse else "",
            f"variant {self.variant}" if self.variant else "",
            f"{self.skipped} of {self.skipped + 1} frames skipped" if self.skipped else "",
        )
        return ", ".join(filter(None, parts)) or "nothing given up"


@dataclass(frozen=True, kw_only=True)
class LoadEvent:
    """A step that was taken."""

    number: int  # place in the ladder
    last: int  # the last place
    step: LoadStep
    back: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """What one inferred frame said."""

    at_ns: int  # steady clock, when it was done
    seconds: float  # from arrival to feature
    worked_s: float  # of them at work
    overwritten: int  # frames before it that the source did not get to


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What the frames of a window say together."""

    seconds: float  # percentile of their times
    work: float  # that all that came would be, of what one source can do in the time
    overwritten: float  # share of what came

    def of_budget(self, budget_s: float) -> float:
        """Return how much of what may be it is; above 1: overload."""
        return max(self.seconds / budget_s, self.work / _MOST_WORK)

    def text(self, options: LoadOptions) -> str:
        """Say what is too much."""
        if self.seconds * 1e3 > options.budget_ms:
            return f"{self.seconds * 1e3:.1f} ms > {options.budget_ms:g} ms"
        return f"{self.overwritten:.0%} of the frames overwritten > {_LATE_SHARE:.0%}"


def ladder(options: LoadOptions) -> tuple[LoadStep, ...]:
    """Return the steps from nothing given up to everything.

    Raises:
        ConfigurationError: there is load control, and nothing to give up for it.
    """
    steps = [LoadStep()]
    reuse = options.reuse_max_age_s > 0.0
    if reuse:
        steps.append(LoadStep(reuse=True))
    steps += [LoadStep(reuse=reuse, variant=name) for name in options.variants]
    cheapest = options.variants[-1] if options.variants else ""
    steps += [
        LoadStep(reuse=reuse, variant=cheapest, skipped=number + 1)
        for number in range(options.most_skipped)
    ]
    if options.on and len(steps) == 1:
        asked = "load.budget_ms" if options.budget_ms > 0.0 else "load.hottest_c, load.throttling"
        raise ConfigurationError(
            f"{asked}: there is nothing to give up for it: set load.reuse_max_age_s, "
            "load.variants or load.most_skipped"
        )
    return tuple(steps)


class LoadControl:
    """Which step of the ladder holds. One thread feeds it; any thread reads."""

    def __init__(self, options: LoadOptions) -> None:
        """Start with nothing given up.

        Raises:
            ConfigurationError: as `ladder`.
        """
        self.options = options
        self.steps = ladder(options)
        self._number = 0
        self._frames: deque[_Frame] = deque(maxlen=512)
        self._since_ns: int | None = None  # first frame after the last step
        self._stepped_ns = 0
        self._saves = [1.0] * len(self.steps)  # what is seen one place higher over what is here
        self._over_s = 0.0  # of overload beyond the first window, see `_down`
        self._told_ns: int | None = None  # of the newest frame
        self._before = 0.0  # of the budget, that the last step down was taken for
        self._roomy_ns: int | None = None  # since when frames would fit one place higher
        self._hot_ns: int | None = None  # since when the machine is too hot, or throttles
        self._back_ns: int | None = None  # the last step back; None: none, or it lasted
        self._doublings = 0
        self._quiet_ns = 0
        self._unusable: dict[int, str] = {}
        self._missing: set[str] = set()  # variants that cannot serve
        self.changes = 0

    @property
    def number(self) -> int:
        """Place in the ladder; 0: nothing is given up."""
        return self._number

    @property
    def step(self) -> LoadStep:
        """What is given up now."""
        return self._given(self._number) if self.options.on else LoadStep()

    @property
    def wait_s(self) -> float:
        """Head-room that the next step back needs, s."""
        return self.options.back_s * float(2**self._doublings)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to give up."""
        return self._lower() is None

    @property
    def unusable(self) -> tuple[str, ...]:
        """Why steps are left out."""
        return tuple(self._unusable.values())

    def time_s(self) -> float:
        """Return the 80th percentile of the frames since the last step; NaN: there were none."""
        return _quantile([frame.seconds for frame in list(self._frames)[-50:]])

    def restart(self) -> None:
        """Count nothing that was measured so far: what runs has changed."""
        self._frames.clear()
        self._since_ns = self._roomy_ns = self._told_ns = None
        self._over_s = 0.0

    def use_all(self) -> None:
        """Try every step again: they stand in for another model now."""
        self._unusable.clear()
        self._missing.clear()
        self.restart()

    def leave_out(self, variant: str, reason: str, now_ns: int) -> LoadEvent | None:
        """Note that a variant cannot serve; return the step off it, where it was asked for."""
        self._missing.add(variant)
        for number, step in enumerate(self.steps):
            if step.variant == variant and not step.skipped:
                self._unusable[number] = f"{variant}: {reason}"
        if self._number not in self._unusable:
            return None
        lower = self._lower()
        number = self._higher() if lower is None else lower
        return self._go(number, now_ns, back=lower is None, reason=f"{variant}: {reason}")

    def took(
        self,
        seconds: float,
        now_ns: int,
        heat: str = "",
        *,
        worked_s: float = 0.0,
        overwritten: int = 0,
    ) -> LoadEvent | None:
        """Take what an inferred frame took; return the step that follows from it.

        Args:
            seconds: from arrival to feature; frames that were skipped or reused are not told.
            now_ns: steady clock.
            heat: why the machine is too hot; empty: it is not, or nobody asked.
            worked_s: of these seconds, those at work on it.
            overwritten: frames since the last one told that the source did not get to.
        """
        if not self.options.on:
            if self._number:
                return self._go(0, now_ns, back=True, reason="load control was switched off")
            return None
        if self._since_ns is None:
            self._since_ns = now_ns
        self._frames.append(
            _Frame(at_ns=now_ns, seconds=seconds, worked_s=worked_s, overwritten=overwritten)
        )
        return self._cool(heat, now_ns) or self._down(now_ns) or self._up(now_ns)

    def _cool(self, heat: str, now_ns: int) -> LoadEvent | None:
        """Step down while the machine is too hot; nothing is taken back meanwhile."""
        if not heat:
            self._hot_ns = None
            return None
        if self._hot_ns is None:
            self._hot_ns = now_ns
        self._roomy_ns, lower = None, self._lower()
        wait_s = self.options.over_s * (1 + self.options.importance)
        if lower is None or now_ns - max(self._hot_ns, self._stepped_ns) < wait_s * NS:
            return None
        self._note_relapse(now_ns)
        return self._go(lower, now_ns, back=False, reason=f"{heat} for {wait_s:g} s")

    def _note_relapse(self, now_ns: int) -> None:
        """Double the time until the next step back where the last one did not last."""
        if self._back_ns is not None and now_ns - self._back_ns < _LASTED * self.wait_s * NS:
            self._doublings = min(self._doublings + 1, _MOST_DOUBLINGS)
        self._back_ns = None

    def _down(self, now_ns: int) -> LoadEvent | None:
        options, budget_s = self.options, self.options.budget_ms / 1e3
        seen = self._seen(options.over_s, now_ns)
        if seen is None or budget_s <= 0.0:
            return None
        now = seen.of_budget(budget_s)
        self._learn(now)
        passed_s = 0.0 if self._told_ns is None else (now_ns - self._told_ns) / NS
        self._told_ns = now_ns
        if now <= 1.0:
            self._over_s = max(self._over_s - passed_s * _LEAK, 0.0)
            return None
        # Not a percentile of one long window: a fifth of it would do, and an important source
        # whose frames were good until now would move before the others had their turn.
        self._over_s += passed_s
        lower = self._lower()
        if lower is None or self._over_s < options.importance * options.over_s:
            return None
        wait_s = options.over_s * (1 + options.importance)
        self._note_relapse(now_ns)
        self._before = now
        reason = f"{seen.text(options)} for {wait_s:g} s"
        return self._go(lower, now_ns, back=False, reason=reason)

    def _up(self, now_ns: int) -> LoadEvent | None:
        wait_s, budget_s = self.wait_s, self.options.budget_ms / 1e3
        if now_ns - max(self._quiet_ns, self._stepped_ns) > _FORGET * wait_s * NS:
            self._doublings, self._quiet_ns = max(self._doublings - 1, 0), now_ns
        if self._number == 0 or self._hot_ns is not None:
            return None
        seen = self._seen(self.options.over_s, now_ns)
        if seen is None:
            return None
        saves = self._believed(now_ns)
        if budget_s > 0.0 and seen.of_budget(budget_s) * saves > self.options.headroom:
            self._roomy_ns = None
            return None
        if self._roomy_ns is None:
            self._roomy_ns = now_ns
        if now_ns - self._roomy_ns < wait_s * NS:
            return None
        reason = f"not too hot for {wait_s:g} s"
        if budget_s > 0.0:
            reason = (
                f"{seen.of_budget(budget_s) * self.options.budget_ms:.1f} ms x {saves:.2f} < "
                f"{self.options.headroom:g} of {self.options.budget_ms:g} ms for {wait_s:g} s"
            )
        self._back_ns = now_ns
        return self._go(self._higher(), now_ns, back=True, reason=reason)

    def _seen(self, window_s: float, now_ns: int) -> _Seen | None:
        """Return what a whole window after the last step says; None: not yet one."""
        if self._since_ns is None or now_ns - self._since_ns < window_s * NS:
            return None
        if len(self._frames) < _LEAST_FRAMES:
            return None
        newest: list[_Frame] = []
        for frame in reversed(self._frames):
            if now_ns - frame.at_ns > window_s * NS and len(newest) >= _LEAST_FRAMES:
                break
            newest.append(frame)
        return _together(newest)

    def _learn(self, now: float) -> None:
        """See what the step down saved, by the first window after it."""
        if self._before > 0.0:
            self._saves[self._number] = max(self._before / max(now, 1e-6), 1.0)
            self._before = 0.0

    def _believed(self, now_ns: int) -> float:
        waits = (now_ns - self._stepped_ns) / NS / self.wait_s
        return float(1.0 + (self._saves[self._number] - 1.0) * 0.5 ** (waits / _HALVES))

    def _given(self, number: int) -> LoadStep:
        """Return a step with the cheapest variant that can serve.

        Asked for one that cannot, its source would load it again for every frame.
        """
        step = self.steps[number]
        if step.variant not in self._missing:
            return step
        usable = [name for name in self.options.variants if name not in self._missing]
        return replace(step, variant=usable[-1] if usable else "")

    def _lower(self) -> int | None:
        later = range(self._number + 1, len(self.steps))
        return next((number for number in later if number not in self._unusable), None)

    def _higher(self) -> int:
        before = range(self._number - 1, 0, -1)
        return next((number for number in before if number not in self._unusable), 0)

    def _go(self, number: int, now_ns: int, *, back: bool, reason: str) -> LoadEvent:
        self._number, self._stepped_ns = number, now_ns
        if back:
            self._before = 0.0
        self.changes += 1
        self.restart()
        return LoadEvent(
            number=number,
            last=len(self.steps) - 1,
            step=self._given(number),
            back=back,
            reason=reason,
        )


def _together(newest: list[_Frame]) -> _Seen:
    """Return what frames say together; the newest is the first.

    Between the oldest and the newest one the source worked on all but the oldest, and what it did
    not get to would have taken as long, each.
    """
    between, passed_s = newest[:-1], (newest[0].at_ns - newest[-1].at_ns) / NS
    came = len(between) + sum(frame.overwritten for frame in between)
    worked_s = sum(frame.worked_s for frame in between)
    return _Seen(
        seconds=_quantile([frame.seconds for frame in newest]),
        work=worked_s * came / len(between) / max(passed_s, 1e-9),
        overwritten=1.0 - len(between) / came,
    )


def _quantile(times: list[float]) -> float:
    """Return the 80th percentile; NaN of nothing."""
    if not times:
        return float("nan")
    return sorted(times)[(len(times) - 1) * _QUANTILE // 100]
