"""One robot's rounds: asks the registry, says what is to be done, and fetches what it offers."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge_perception.core.errors import (
    ClockNotSetError,
    EdgePerceptionError,
    LinkError,
    NoRoomError,
)
from edge_perception.fleet.plan import Plan
from edge_perception.fleet.schedule import AskAgainError, Pace, PollSchedule
from edge_perception.fleet.sync import Sync


class Rounds:
    """One thread's. What fails is tried again in the next round; nothing holds up anything else.

    Args:
        sync: of the robot; fetches at the pace.
        pace: between pieces.
        schedule: when it asks again.
        period_s: between questions; a download that takes longer waits for one in between.
        offline_s: without the registry, or with a download that does not end, that is a problem.
        skip: whether an offer, by digest, is not fetched now.
        planned: called where the plan is new.
        now_ns: wall clock.
        steady_s: steady clock.

    Attributes:
        plan: of the newest answer.
        held: why offers are not here yet, by name and version.
        problem: why nothing new comes; empty: it does.
    """

    def __init__(
        self,
        sync: Sync,
        pace: Pace,
        schedule: PollSchedule,
        *,
        period_s: float,
        offline_s: float,
        skip: Callable[[str], bool] = lambda _: False,
        planned: Callable[[], None] = lambda: None,
        now_ns: Callable[[], int] = time.time_ns,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sync, self._pace, self._schedule = sync, pace, schedule
        self._period_s, self._offline_s = period_s, offline_s
        self._skip, self._planned = skip, planned
        self._now_ns, self._steady_s = now_ns, steady_s
        self._whole_s = steady_s()  # all that was offered was here
        self.plan = Plan()
        self.held: dict[str, str] = {}
        self.problem = ""

    def round(self) -> float:
        """Go through one round; return the seconds until the next."""
        self._pace.until_s = self._steady_s() + self._period_s
        try:
            # In quiet hours too, and before any download: a stop waits for nothing.
            self.plan = self._sync.poll(self._now_ns())
            self._planned()
            problem, held = self._fetch_all()
        except AskAgainError:
            return 0.0
        except LinkError as error:
            problem, held = str(error) if self._long_ago() else "", self.held
        except (EdgePerceptionError, OSError, ClockNotSetError) as error:
            problem, held = str(error), self.held
        else:
            self.problem, self.held = problem, held
            return self._schedule.next_s(failed=bool(held))
        self.problem = problem
        return self._schedule.next_s(failed=True)

    def _fetch_all(self) -> tuple[str, dict[str, str]]:
        """Fetch what is offered; return what is a problem, and why offers are not here yet."""
        problem = ""
        held: dict[str, str] = {}
        for document in () if self._pace.is_quiet else self.plan.offers:
            if self._skip(document.manifest_sha256):
                continue
            name = f"{document.name} {document.version}"
            try:
                self._sync.fetch(document, self._now_ns())
            except AskAgainError:
                raise
            except LinkError as error:
                held[name] = f"not here yet: {error}"
                lasts = self._steady_s() - self._whole_s > self._offline_s
                if lasts or isinstance(error, NoRoomError):
                    problem = problem or f"{name}: {error}"
            except (EdgePerceptionError, OSError) as error:
                held[name] = f"not here: {error}"
                problem = problem or f"{name}: {error}"
        if not held:
            self._whole_s = self._steady_s()
        return problem, held

    def _long_ago(self) -> bool:
        away_s = self._now_ns() / 1e9 - self._sync.trusted.refreshed_ns / 1e9
        return away_s > self._offline_s
