"""The model manager: knows the releases on disk and the models in the nodes, and changes them."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup

from edge_perception import msg
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.health import Health, Level
from edge_perception.fleet.options import FleetOptions
from edge_perception.models.device_keys import use_device_key
from edge_perception.models.loading import model_folders
from edge_perception.nodes.changes.coordinator import SwapCoordinator
from edge_perception.nodes.changes.fused_groups import FusedGroups
from edge_perception.nodes.changes.model_client import ModelClient
from edge_perception.nodes.changes.model_events import ModelEvents
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.spin import run
from edge_perception.nodes.manager.commit_watch import CommitWatch
from edge_perception.nodes.manager.fleet_link import FleetLink
from edge_perception.nodes.manager.follow_up import FollowUp
from edge_perception.nodes.manager.services import ManagerServices
from edge_perception.nodes.manager.swap_action import SwapAction
from edge_perception.nodes.topics import qos
from edge_perception.nodes.topics.receiver import Receiver
from edge_perception.releases.admission import AdmissionLimits
from edge_perception.releases.filesystem import FileSystem
from edge_perception.releases.managed import ManagedStore
from edge_perception.releases.options import ManagerOptions
from edge_perception.releases.slo import Slo
from edge_perception.releases.slo_file import read_slo

_LAST_WORDS_NS = 700_000_000  # the rest of the process must be closed too


class ModelManagerNode(PerceptionNode):
    """Lists, verifies and changes models through the services of the nodes that serve them."""

    def __init__(self, *, files: FileSystem | None = None, **kwargs: Any) -> None:
        """Declare parameters and offer the services.

        Args:
            files: what the store writes through; tests pass one that fails.
            kwargs: for the rclpy node.
        """
        super().__init__("model_manager", **kwargs)
        self.expected_name = "model_manager"
        self._options = self.declare_parameters_of(ManagerOptions)
        self._limits = self.declare_parameters_of(
            AdmissionLimits, prefix="admission_", held=lambda: self._options.config.held
        )
        self._fleet_options = self.declare_parameters_of(
            FleetOptions, prefix="fleet_", held=lambda: self._options.config.held
        )
        self._slo = Slo()
        self._broken = False  # the SLO file or the store cannot be used
        # A service that waits for other nodes must not keep their answers from being taken.
        group = ReentrantCallbackGroup()
        self.parts = ManagerParts(
            node=self,
            client=ModelClient(self, group),
            managed=ManagedStore(files),
            events=ModelEvents(self),
            groups=FusedGroups(self),
            options=lambda: self._options.config,
            slo=lambda: self._slo,
            limits=lambda: self._limits.config,
        )
        self.coordinator = SwapCoordinator(self.parts)
        self._follow_up = FollowUp(self.parts, self.coordinator, group)
        self._watch = CommitWatch(self.parts, self.coordinator, group)
        self._fleet = FleetLink(self.parts, self.coordinator, group)
        ManagerServices(self.parts, self.coordinator, group)
        self._action = SwapAction(self.parts, self.coordinator, group)

    def configure(self) -> None:
        """Open the store, and finish or undo what a dead manager left."""
        options, parts = self._options.config, self.parts
        folders = model_folders(options.model_folders)
        self._broken = False
        try:
            self._slo = read_slo(options.slo_file)
            use_device_key(options.device_key)
            note = parts.managed.open(
                options.model_store,
                options.trust_file,
                folders,
                require_signed=options.require_signed,
            )
        except (EdgePerceptionError, OSError) as error:
            parts.managed.off = f"swapping is off: {error}"
            self._broken = True
            self.get_logger().error(parts.managed.off)
            return
        store = parts.managed.readable
        if store is None:
            return
        parts.events.open(store.root / "events.jsonl", parts.managed.files)
        if note:
            parts.events.tell("recovered", reason=note)
        self._watch.resume()
        self._follow_up.start()
        try:
            self._fleet.start(self._fleet_options.config, options.trust_file)
        except EdgePerceptionError as error:
            self._fleet.failed = str(error)
            self.get_logger().error(f"fleet: {error}")

    def activate(self) -> None:
        """Listen to the fused views, whose gaps tell when a change may take effect."""
        self._receiver = Receiver(
            self, on_error=lambda error: self.get_logger().error(f"{error!r}")
        )
        self._receiver.subscribe_serialized(
            msg.FusedPerception, "perception/fused", self._on_view, qos.FUSED
        )
        self._receiver.start()

    def _on_view(self, data: bytes) -> None:
        self.parts.groups.on_view(data)
        self._watch.on_view(data)
        self._fleet.on_view(data)

    def deactivate(self) -> None:
        """Stop listening."""
        self._receiver.stop()

    def cleanup(self) -> None:
        """Give the store back."""
        self._fleet.stop()
        self._follow_up.stop()
        self._watch.stop()
        self.parts.events.close()
        self.parts.managed.close()

    def close(self) -> None:
        """End; a change under way is undone first, so that who asked hears of it, for a moment."""
        self.coordinator.stop("the manager ends")
        end_ns = self.parts.steady_ns() + _LAST_WORDS_NS
        asked = bool(self.coordinator.busy)
        while (self.coordinator.busy or self._action.busy) and self.parts.steady_ns() < end_ns:
            self._spin_once()
        if asked:
            self._spin_once()  # the answer itself
        super().close()

    def _spin_once(self) -> None:
        """Nobody spins any more where a process ends; where somebody does, that is enough."""
        with contextlib.suppress(Exception):
            self.executor.spin_once(timeout_sec=0.02)

    def health(self) -> Health:
        """Say which nodes serve models, and whether they can be changed."""
        nodes, off = self.parts.client.nodes(), self.parts.managed.off
        opened = self._watch.breaker().open
        level, text = Level.OK, f"{len(nodes)} nodes serve models"
        if self._broken:
            level, text = Level.ERROR, off
        elif not nodes:
            level, text = Level.WARN, "no node serves a model"
        elif off and self._options.config.trust_file:
            level, text = Level.ERROR, off
        elif opened:
            level, text = Level.WARN, f"the breaker is open: {opened}"
        elif self.parts.events.problem:
            level, text = Level.WARN, f"newest event {self.parts.events.problem}"
        fleet_level, fleet_text = self._fleet.level()
        if level == Level.OK and fleet_level != Level.OK:
            level, text = fleet_level, fleet_text
        return Health(
            level=level,
            message=text,
            values={
                "nodes": " ".join(nodes),
                "swapping": off or "on",
                "transaction": self.coordinator.busy or "none",
                "waits_for": self.coordinator.waits_for or "nothing",
                "watch": self._watch.text or "nothing",
                "breaker": f"open: {opened}" if opened else "closed",
                **self._fleet.values(),
            },
        )


main = functools.partial(run, lambda: [ModelManagerNode()])
