"""The model manager in a fleet: takes releases from a registry, and tells how it goes.

Off until a registry or a broker is named. All that may wait (network, disk) is done in threads of
its own; a release that came goes the same way as one that a person asked for.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message

from edge_perception import msg
from edge_perception.core.errors import (
    ClockNotSetError,
    ConfigurationError,
    EdgePerceptionError,
    LinkError,
)
from edge_perception.core.health import Level
from edge_perception.core.types import Mode, SourceState
from edge_perception.fleet.figures import DriftSeen, Figures
from edge_perception.fleet.membership import Device
from edge_perception.fleet.mqtt import BrokerOptions
from edge_perception.fleet.options import FleetOptions
from edge_perception.fleet.places import ObjectPlace
from edge_perception.fleet.readings import Reading
from edge_perception.fleet.sample_link import SampleLink
from edge_perception.fleet.schedule import Pace, PollSchedule, parse_quiet_hours
from edge_perception.fleet.sync import FOLDER, Plan, Sync
from edge_perception.fleet.telemetry import Telemetry
from edge_perception.nodes.changes.change import Caller
from edge_perception.nodes.changes.coordinator import SwapCoordinator
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.common.node_time import STEADY
from edge_perception.nodes.conversion.view_facts import facts_of
from edge_perception.releases.past import is_bad
from edge_perception.releases.signing import read_trust
from edge_perception.releases.slo import DRIFT, MEMORY
from edge_perception.running.node_parameters import ENCODER

_MACHINE_ID = Path("/etc/machine-id")
_VIEW_PERIOD_S = 0.2  # views are sampled: what a fleet judges are shares
_DAY_S = 86400.0
_AGAIN_S = 6 * 3600.0  # until a release that was refused here is tried again


class FleetLink:
    """Synchronisation and telemetry of one robot."""

    def __init__(
        self, parts: ManagerParts, coordinator: SwapCoordinator, group: ReentrantCallbackGroup
    ) -> None:
        self._parts, self._coordinator = parts, coordinator
        self._options, self._group = FleetOptions(), group
        self._sync: Sync | None = None
        self._telemetry: Telemetry | None = None
        self._samples: SampleLink | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._plan = Plan()
        self._absent: dict[str, str] = {}  # offers that no node here could serve, and why
        self._refused: dict[str, tuple[str, float]] = {}  # why and until when, by digest
        self._counts: Counter[str] = Counter()
        self._figures, self._drift = Figures(), DriftSeen()
        self._diagnostics: Any = None  # subscription, while somebody is told
        self._sampled_s = self._told_s = 0.0
        self._acting = False
        self.problem = ""  # why nothing new comes; empty: it does, or none is wanted
        self._wake = parts.node.create_guard_condition(self._on_wake, callback_group=group)
        self._teller = parts.node.create_timer(
            1.0, self._on_tell, callback_group=group, clock=STEADY, autostart=False
        )

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
            self._start_telemetry(options)
        if options.samples_to:
            self._start_samples(options)
        if options.registry:
            self._start_sync(options, trust_file)

    def stop(self) -> None:
        """End; safe more than once. What was fetched by half is gone on with by the next."""
        self._ended.set()
        self._teller.cancel()
        self._parts.events.told = None
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        if self._diagnostics is not None:
            self._parts.node.destroy_subscription(self._diagnostics)
            self._diagnostics = None
        if self._samples is not None:
            self._samples.stop()
        if self._telemetry is not None:
            self._telemetry.close()
        if self._samples is not None:
            self._samples.close()
        self._thread = self._telemetry = self._sync = self._samples = None

    def _start_telemetry(self, options: FleetOptions) -> None:
        store = self._parts.managed.readable
        if store is None:
            raise ConfigurationError("fleet_broker: expected a model_store, which holds the spool")
        self._telemetry = Telemetry(
            self._device.id,
            store.root / FOLDER / "telemetry.db",
            BrokerOptions(
                url=options.broker,
                ca_file=options.broker_ca,
                cert_file=options.broker_cert,
                key_file=options.broker_key,
            ),
            quota_bytes=options.spool_mb * 2**20,
            steady_s=time.monotonic,
        )
        self._parts.events.told = self._on_event
        self._diagnostics = self._parts.node.create_subscription(
            DiagnosticArray,
            "/diagnostics",
            self._on_diagnostics,
            QoSProfile(depth=50),
            callback_group=self._group,
        )
        self._teller.timer_period_ns = round(options.telemetry_period_s * 1e9)
        self._teller.reset()

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
            tell=self._telemetry.tell if self._telemetry is not None else None,
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
                self._tell_versions()
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
            self._tell_versions()
        except EdgePerceptionError as error:
            self._parts.events.tell("not rolled back", error=True, reason=f"{why}: {error}")

    # -- telemetry --

    def on_view(self, data: bytes) -> None:
        """Take a serialised view; the thread of the receiver."""
        now_s = time.monotonic()
        if self._telemetry is None or now_s < self._sampled_s + _VIEW_PERIOD_S:
            return
        self._sampled_s = now_s
        view = deserialize_message(data, msg.FusedPerception)
        facts = facts_of(view, decisions=False)
        self._counts["views"] += 1
        for objective in self._parts.slo().objectives:
            if objective.indicator == DRIFT:
                self._counts[objective.name] += self._drift.any
            elif objective.indicator != MEMORY:
                self._counts[objective.name] += is_bad(objective, facts)
        self._figures.view(
            end_to_end_ms=facts.end_to_end_ms,
            mode=Mode(view.mode).name,
            valid=facts.valid,
            missed=facts.deadline_missed,
            not_ok=[s.source for s in view.sources if s.state != SourceState.OK],
        )

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            name = status.name.rpartition("/")[2]
            said = next((item.value for item in status.values if item.key == "drift"), None)
            if said is None or not name.endswith(ENCODER):
                continue
            change = self._drift.look(name.removesuffix(ENCODER), said)
            if change is not None:
                self._tell("drift", {**change, "models": self._models()})

    def _on_tell(self) -> None:
        counts, self._counts = self._counts, Counter()
        if counts["views"]:
            views = counts.pop("views")
            self._tell("slo", {"views": views, "bad": dict(counts), "models": self._models()})
        if (figures := self._figures.take()) is not None:
            self._tell("metric", figures)
        now_s = time.monotonic()
        if now_s > self._told_s + 60.0:
            self._told_s = now_s
            self._tell_versions()

    def _tell_versions(self) -> None:
        self._tell(
            "versions",
            {
                "device_class": self._device.device_class,
                "groups": list(self._device.groups),
                "models": self._models(),
                "waiting": {**self._plan.waiting, **self._absent},
                "problem": self.problem,
            },
        )

    def _models(self) -> dict[str, Any]:
        store = self._parts.managed.readable
        found = {}
        for role, sha256 in (store.slots.get("current") if store is not None else {}).items():
            version = ""
            if store is not None and store.shelf.has(sha256):
                manifest = store.shelf.bundle(sha256).manifest
                version = f"{manifest.name} {manifest.version}"
            found[role] = {"sha256": sha256, "version": version}
        return found

    def _on_event(self, event: msg.ModelEvent) -> None:
        self._tell(
            "event",
            {
                "event": event.event,
                "error": event.error,
                "reason": event.reason,
                "transaction": event.transaction_id,
                "models": {m.role: m.sha256 for m in event.models},
            },
        )

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        if self._telemetry is not None:
            self._telemetry.tell(Reading(kind=kind, stamp_ns=time.time_ns(), data=data))

    # -- for people --

    def level(self) -> tuple[Level, str]:
        """Return what diagnostics say of it."""
        if self.problem:
            return Level.WARN, f"fleet: {self.problem}"
        if self._telemetry is not None and self._telemetry.problem:
            return Level.WARN, f"telemetry: {self._telemetry.problem}"
        if self._samples is not None and self._samples.problem:
            return Level.WARN, f"samples: {self._samples.problem}"
        return Level.OK, ""

    def values(self) -> dict[str, str]:
        """Return how it stands; empty: this robot is in no fleet."""
        parts = [part for part in (self._telemetry, self._samples) if part is not None]
        if self._sync is None and not parts:
            return {}
        told = {name: value for part in parts for name, value in part.values().items()}
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
