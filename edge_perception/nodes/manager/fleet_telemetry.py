"""What a robot tells its fleet: shares of bad views, latency, drift, events, what serves.

Off until a broker is named. Views come in the thread of the receiver, all else in the executor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.qos import QoSProfile

from edge_perception import msg
from edge_perception.core.errors import ConfigurationError
from edge_perception.fleet.figures import DriftSeen
from edge_perception.fleet.membership import Device
from edge_perception.fleet.mqtt import BrokerOptions
from edge_perception.fleet.options import FleetOptions
from edge_perception.fleet.readings import Reading
from edge_perception.fleet.sync import FOLDER
from edge_perception.fleet.telemetry import Telemetry
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.common.node_time import STEADY
from edge_perception.nodes.conversion.status_reading import Wanted, read_statuses
from edge_perception.nodes.manager.fleet_views import FleetViews
from edge_perception.running.node_parameters import ENCODER


class FleetTelemetry:
    """Telemetry of one robot.

    Args:
        parts: of the manager.
        group: of its callbacks.
        standing: how it stands with the releases of the fleet, told beside what serves.
    """

    def __init__(
        self,
        parts: ManagerParts,
        group: ReentrantCallbackGroup,
        standing: Callable[[], Mapping[str, object]],
    ) -> None:
        self._parts, self._group, self._standing = parts, group, standing
        self._telemetry: Telemetry | None = None
        self._drift = DriftSeen()
        self._views = FleetViews(parts.slo, lambda: self._drift.any)
        self._diagnostics: Any = None  # subscription, while somebody is told
        self._told_s = 0.0
        self._teller = parts.node.create_timer(
            1.0, self._on_tell, callback_group=group, clock=STEADY, autostart=False
        )

    def start(self, options: FleetOptions, device: Device) -> None:
        """Begin to tell.

        Raises:
            EdgePerceptionError: it cannot.
        """
        store = self._parts.managed.readable
        if store is None:
            raise ConfigurationError("fleet_broker: expected a model_store, which holds the spool")
        self._device = device
        self._telemetry = Telemetry(
            device.id,
            store.root / FOLDER / "telemetry.db",
            BrokerOptions(
                url=options.broker,
                ca_file=options.broker_ca,
                cert_file=options.broker_cert,
                key_file=options.broker_key,
            ),
            quota_bytes=options.spool_mb * 2**20,
        )
        self._parts.events.told = self._on_event
        self._diagnostics = self._parts.node.create_subscription(
            DiagnosticArray,
            "/diagnostics",
            self._on_diagnostics,
            QoSProfile(depth=50),
            callback_group=self._group,
            raw=True,  # one of sixty values is wanted
        )
        self._teller.timer_period_ns = round(options.telemetry_period_s * 1e9)
        self._teller.reset()

    def stop(self) -> None:
        """Look at nothing more; safe more than once."""
        self._teller.cancel()
        self._parts.events.told = None
        if self._diagnostics is not None:
            self._parts.node.destroy_subscription(self._diagnostics)
            self._diagnostics = None

    def close(self) -> None:
        """Let go of the broker and the spool; once nobody hands over readings any more."""
        if self._telemetry is not None:
            self._telemetry.close()
            self._telemetry = None

    @property
    def on(self) -> bool:
        """Whether somebody is told."""
        return self._telemetry is not None

    @property
    def takes_readings(self) -> Callable[[Reading, Callable[[], None]], None] | None:
        """Takes a reading and what to call once it is kept; None: nobody is told."""
        return None if self._telemetry is None else self._telemetry.tell

    @property
    def problem(self) -> str:
        """Why nothing leaves; empty: it does, or nothing is to."""
        return "" if self._telemetry is None else self._telemetry.problem

    def values(self) -> Mapping[str, Any]:
        """Return what diagnostics say of it."""
        return {} if self._telemetry is None else self._telemetry.values()

    def on_view(self, data: bytes) -> None:
        """Take a serialised view; the thread of the receiver."""
        if self._telemetry is not None:
            self._views.on_view(data, time.monotonic())

    def _on_diagnostics(self, data: bytes) -> None:
        for status in read_statuses(data, _wanted_of):
            if "drift" not in status.values:
                continue
            source = status.name.rpartition("/")[2].removesuffix(ENCODER)
            change = self._drift.look(source, status.values["drift"])
            if change is not None:
                self._tell("drift", {**change, "models": self._models()})

    def _on_tell(self) -> None:
        seen = self._views.take()
        if "slo" in seen:
            self._tell("slo", {**seen["slo"], "models": self._models()})
        if "metric" in seen:
            self._tell("metric", seen["metric"])
        now_s = time.monotonic()
        if now_s > self._told_s + 60.0:
            self._told_s = now_s
            self.tell_versions()

    def tell_versions(self) -> None:
        """Tell what serves here and what waits; nothing where nobody is told."""
        if self._telemetry is None:
            return
        self._tell(
            "versions",
            {
                "device_class": self._device.device_class,
                "groups": list(self._device.groups),
                "models": self._models(),
                **self._standing(),
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


def _wanted_of(name: str) -> Wanted | None:
    """Return which values of a status are read; None: it is no encoder's."""
    return _is_drift if name.endswith(ENCODER) else None


def _is_drift(key: bytes) -> bool:
    return key == b"drift"
