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

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.health import Level
from edge_perception.fleet.membership import Device
from edge_perception.fleet.options import FleetOptions
from edge_perception.fleet.places import ObjectPlace
from edge_perception.fleet.rounds import Rounds
from edge_perception.fleet.sample_link import SampleLink
from edge_perception.fleet.schedule import Pace, PollSchedule, parse_quiet_hours
from edge_perception.fleet.sync import FOLDER, Sync
from edge_perception.nodes.changes.coordinator import SwapCoordinator
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.manager.fleet_changes import FleetChanges
from edge_perception.nodes.manager.fleet_telemetry import FleetTelemetry
from edge_perception.releases.signing import read_trust

_MACHINE_ID = Path("/etc/machine-id")
_DAY_S = 86400.0


class FleetLink:
    """Releases from a registry, the upload of samples, and the telemetry of one robot."""

    def __init__(
        self, parts: ManagerParts, coordinator: SwapCoordinator, group: ReentrantCallbackGroup
    ) -> None:
        self._parts = parts
        self._rounds: Rounds | None = None
        self._telemetry = FleetTelemetry(parts, group, self._standing)
        self.failed = ""  # why it did not start
        self._samples: SampleLink | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._changes = FleetChanges(parts, coordinator, self._telemetry.tell_versions)
        self._wake = parts.node.create_guard_condition(self._on_wake, callback_group=group)

    # -- begin and end --

    def start(self, options: FleetOptions, trust_file: str) -> None:
        """Begin with what the options ask for.

        Raises:
            EdgePerceptionError: they cannot be followed.
        """
        self.failed = ""
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
        self._thread = self._rounds = self._samples = None

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
        sync = Sync(
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
        self._schedule = PollSchedule(options.poll_period_s, random.Random())
        self._rounds = Rounds(
            sync,
            self._pace,
            self._schedule,
            period_s=options.poll_period_s,
            offline_s=options.offline_warn_days * _DAY_S,
            skip=self._changes.is_refused,
            planned=self._on_planned,
        )
        self._thread = threading.Thread(target=self._work, name="fleet", daemon=True)
        self._thread.start()

    # -- the registry, in a thread --

    def _work(self) -> None:
        rounds, ended = self._rounds, self._ended
        wait_s = min(self._schedule.first_s(), 60.0)
        while rounds is not None and not ended.wait(wait_s):
            before = rounds.problem
            wait_s = rounds.round()
            if rounds.problem and rounds.problem != before:
                self._parts.events.tell("fleet", error=True, reason=rounds.problem)
            self._on_planned()

    def _on_planned(self) -> None:
        if not self._ended.is_set():
            self._wake.trigger()

    async def _on_wake(self) -> None:
        if self._rounds is not None:
            await self._changes.follow(self._rounds.plan, quiet=self._pace.is_quiet)

    # -- for people --

    def on_view(self, data: bytes) -> None:
        """Take a serialised view; the thread of the receiver."""
        self._telemetry.on_view(data)

    def _standing(self) -> dict[str, object]:
        """Return what the fleet is told of its offers."""
        return {"waiting": self._waiting(), "problem": self.problem}

    def _waiting(self) -> dict[str, str]:
        """Return why releases do not serve here, by name and version."""
        rounds = self._rounds
        if rounds is None:
            return {}
        return {**rounds.plan.waiting, **rounds.held, **self._changes.absent}

    @property
    def problem(self) -> str:
        """Why nothing new comes; empty: it does, or none is wanted."""
        return self.failed or (self._rounds.problem if self._rounds is not None else "")

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
        if self._rounds is None and samples is None and not self._telemetry.on:
            return {}
        told = {**self._telemetry.values(), **(samples.values() if samples is not None else {})}
        waiting = "; ".join(f"{name}: {why}" for name, why in self._waiting().items())
        refused = "; ".join(self._changes.refusals)
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
