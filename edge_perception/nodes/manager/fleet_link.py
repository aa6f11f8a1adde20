"""The model manager in a fleet: takes releases from a registry; what it tells is another part.

Off until a registry or a broker is named. All that may wait (network, disk) is done in threads of
its own; a release that came goes the same way as one that a person asked for.
"""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

from rclpy.callback_groups import ReentrantCallbackGroup

from edge_perception.core.errors import (
    ClockNotSetError,
    ConfigurationError,
    EdgePerceptionError,
    LinkError,
)
from edge_perception.core.health import Level
from edge_perception.fleet.membership import Device
from edge_perception.fleet.options import FleetOptions
from edge_perception.fleet.places import ObjectPlace
from edge_perception.fleet.sample_link import SampleLink
from edge_perception.fleet.schedule import Pace, PollSchedule, parse_quiet_hours
from edge_perception.fleet.sync import FOLDER, Plan, Sync
from edge_perception.nodes.changes.change import Caller
from edge_perception.nodes.changes.coordinator import SwapCoordinator
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.manager.fleet_telemetry import FleetTelemetry
from edge_perception.releases.signing import read_trust

_MACHINE_ID = Path("/etc/machine-id")
_DAY_S = 86400.0
_AGAIN_S = 6 * 3600.0  # until a release that was refused here is tried again


class FleetLink:
    """Releases from a registry, the upload of samples, and the telemetry of one robot."""

    def __init__(
        self, parts: ManagerParts, coordinator: SwapCoordinator, group: ReentrantCallbackGroup
    ) -> None:
        self._parts, self._coordinator = parts, coordinator
        self._options, self._group = FleetOptions(), group
        self._sync: Sync | None = None
        self._telemetry = FleetTelemetry(parts, group, self._standing)
        self._samples: SampleLink | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._plan = Plan()
        self._absent: dict[str, str] = {}  # offers that no node here could serve, and why
        self._refused: dict[str, tuple[str, float]] = {}  # why and until when, by digest
        self._acting = False
        self.problem = ""  # why nothing new comes; empty: it does, or none is wanted
        self._wake = parts.node.create_guard_condition(self._on_wake, callback_group=group)

    # -- begin and end --

    def start(self, options: FleetOptions, trust_file: str) -> None:
        """Begin with what the options ask for.

        Raises:
            EdgePerceptionError: they cannot be followed.
        """
        self._options = options
        self._device = Device(
            id=options.device_id or _machine_id(),
            device_class=options.device_class,
            groups=options.groups,
        )
        if options.broker:
            self._telemetry.start(options, self._device)
        if options.samples_to:
            self._start_samples(options)
        if options.registry:
            self._start_sync(options, trust_file)

    def stop(self) -> None:
        """End; safe more than once. What was fetched by half is gone on with by the next."""
        self._ended.set()
        self._telemetry.stop()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        if self._samples is not None:
            self._samples.stop()
        self._telemetry.close()
        if self._samples is not None:
            self._samples.close()
        self._thread = self._sync = self._samples = None

    def _start_samples(self, options: FleetOptions) -> None:
        store = self._parts.managed.readable
        if store is None:
            raise ConfigurationError(
                "fleet_samples_to: expected a model_store, which holds what was uploaded"
            )
        self._samples = SampleLink(
            self._device.id,
            Path(options.samples_from).expanduser(),
            options.samples_to,
            store.root / FOLDER / "samples.db",
            most_day_bytes=options.samples_mb_day * 10**6,
            most_kb_s=options.most_kb_s,
            quiet=parse_quiet_hours(options.quiet_hours),
            tell=self._telemetry.takes_readings,
        )

    def _start_sync(self, options: FleetOptions, trust_file: str) -> None:
        try:
            root = Path(options.root_file).expanduser().read_bytes()
        except OSError as error:
            raise ConfigurationError(f"fleet_root_file: {error}") from error
        if not trust_file:
            raise ConfigurationError("fleet_registry: expected a trust_file beside it, got none")
        self._ended = threading.Event()
        quiet = parse_quiet_hours(options.quiet_hours)
        self._pace = Pace(options.most_kb_s, quiet, self._ended, time.time_ns)
        self._sync = Sync(
            device=self._device,
            store=self._parts.managed.store,
            trust=read_trust(Path(trust_file).expanduser()),
            place=ObjectPlace(options.registry),
            root=root,
            team=options.team,
            channel=options.channel,
            keep_free_bytes=options.keep_free_mb * 2**20,
            paced=self._pace,
        )
        self._thread = threading.Thread(target=self._work, name="fleet", daemon=True)
        self._thread.start()

    # -- the registry, in a thread --

    def _work(self) -> None:
        sync, ended = self._sync, self._ended
        schedule = PollSchedule(self._options.poll_period_s, random.Random())
        wait_s = min(schedule.first_s(), 60.0)
        while sync is not None and not ended.wait(wait_s):
            try:
                plan = sync.poll(time.time_ns())  # in quiet hours too: a stop waits for nothing
                for document in () if self._pace.is_quiet else plan.offers:
                    if not self._is_refused(document.manifest_sha256):
                        sync.fetch(document, time.time_ns())
                self._plan, problem = plan, ""
            except LinkError as error:
                problem = str(error) if self._long_ago(sync) else ""
                wait_s = schedule.next_s(failed=True)
            except (EdgePerceptionError, OSError, ClockNotSetError) as error:
                problem = str(error)
                wait_s = schedule.next_s(failed=True)
            else:
                wait_s = schedule.next_s(failed=False)
            if problem != self.problem:
                self.problem = problem
                if problem:
                    self._parts.events.tell("fleet", error=True, reason=problem)
            if not ended.is_set():
                self._wake.trigger()

    def _long_ago(self, sync: Sync) -> bool:
        away_s = time.time() - sync.trusted.refreshed_ns / 1e9
        return away_s > self._options.offline_warn_days * _DAY_S

    # -- changes, in the executor --

    async def _on_wake(self) -> None:
        if self._acting or self._coordinator.busy or self._parts.managed.off:
            return
        self._acting = True
        try:
            await self._act(self._plan)
        finally:
            self._acting = False

    async def _act(self, plan: Plan) -> None:
        store = self._parts.managed.store
        serving = set(store.slots.get("current").values())
        for sha256, why in plan.retreats.items():
            if sha256 in serving:
                await self._retreat(why)
                return
        if self._pace.is_quiet:
            return  # what was fetched is changed to at the first poll after it
        try:
            # What came with the software serves, and is in no slot before the first change.
            models = (await self._coordinator.serving.look()).models
            serving |= set(models.values())
        except EdgePerceptionError:
            return  # a node is silent: the next poll looks again
        self._absent = {
            f"{document.name} {document.version}": f"no node serves the role {document.role}"
            for document in plan.offers
            if document.role not in models
        }
        for document in plan.offers:
            sha256 = document.manifest_sha256
            if document.role not in models:
                continue  # its node may start yet: it is looked for at the next poll
            if self._is_refused(sha256) or sha256 in serving or not store.shelf.has(sha256):
                continue
            try:
                await self._coordinator.swap(
                    role="",
                    name=document.name,
                    version=document.version,
                    skip_trial=False,
                    caller=Caller(),
                )
                self._telemetry.tell_versions()
            except EdgePerceptionError as error:
                # What is bad is in quarantine now; what was in its way may be gone by then.
                self._refused[sha256] = (str(error), time.monotonic() + _AGAIN_S)
                self._parts.events.tell(
                    "refused",
                    error=True,
                    reason=f"{document.name} {document.version}: {error}",
                )
            return  # what belongs to it changed too; the next poll looks again

    def _is_refused(self, sha256: str) -> bool:
        return time.monotonic() < self._refused.get(sha256, ("", 0.0))[1]

    async def _retreat(self, why: str) -> None:
        """Go back to what served before, as the fleet asks."""
        try:
            previous = self._parts.managed.store.slots.get("previous")
            await self._coordinator.go_to(previous, why, quarantine=why)
            self._parts.events.tell("gone back", error=True, reason=why)
            self._telemetry.tell_versions()
        except EdgePerceptionError as error:
            self._parts.events.tell("not rolled back", error=True, reason=f"{why}: {error}")

    # -- for people --

    def on_view(self, data: bytes) -> None:
        """Take a serialised view; the thread of the receiver."""
        self._telemetry.on_view(data)

    def _standing(self) -> dict[str, object]:
        """Return what the fleet is told of its offers."""
        return {"waiting": {**self._plan.waiting, **self._absent}, "problem": self.problem}

    def level(self) -> tuple[Level, str]:
        """Return what diagnostics say of it."""
        if self.problem:
            return Level.WARN, f"fleet: {self.problem}"
        if self._telemetry.problem:
            return Level.WARN, f"telemetry: {self._telemetry.problem}"
        if self._samples is not None and self._samples.problem:
            return Level.WARN, f"samples: {self._samples.problem}"
        return Level.OK, ""

    def values(self) -> dict[str, str]:
        """Return how it stands; empty: this robot is in no fleet."""
        samples = self._samples
        if self._sync is None and samples is None and not self._telemetry.on:
            return {}
        told = {**self._telemetry.values(), **(samples.values() if samples is not None else {})}
        waits = {**self._plan.waiting, **self._absent}
        waiting = "; ".join(f"{name}: {why}" for name, why in waits.items())
        refused = "; ".join(why for why, _ in self._refused.values())
        return {
            "device": self._device.id,
            "fleet_waiting": waiting or "nothing",
            "fleet_refused": refused or "nothing",
            **{name: str(value) for name, value in told.items()},
        }


def _machine_id() -> str:
    try:
        return _MACHINE_ID.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigurationError(
            f"fleet_device_id: expected a name, as this machine has no id: {error}"
        ) from error
