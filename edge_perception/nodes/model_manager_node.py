"""The model manager: knows the releases on disk and the models in the nodes, and changes them."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message

from edge_perception import action, msg, srv
from edge_perception.core.errors import EdgePerceptionError, ModelError, StoreError, SwapError
from edge_perception.core.health import Health, Level
from edge_perception.core.parameter import parameter
from edge_perception.models.folders import find_bundle, list_bundles
from edge_perception.models.loading import model_folders
from edge_perception.models.manifest import Bundle
from edge_perception.nodes import qos
from edge_perception.nodes.base import PerceptionNode
from edge_perception.nodes.change import LATE, Change
from edge_perception.nodes.conversion import model_msg, stamp_ns
from edge_perception.nodes.event_feed import EventFeed
from edge_perception.nodes.model_client import ModelClient
from edge_perception.nodes.model_services import in_thread
from edge_perception.nodes.receiver import Receiver
from edge_perception.nodes.spin import run
from edge_perception.nodes.swap_coordinator import SwapCoordinator
from edge_perception.releases.admission import AdmissionLimits
from edge_perception.releases.change_stamp import change_stamp
from edge_perception.releases.event_log import EventLog
from edge_perception.releases.filesystem import FileLock, FileSystem
from edge_perception.releases.signing import Trust, read_trust
from edge_perception.releases.store import ModelSet, Release, ReleaseStore

_GROUPS = 6  # fused messages that tell where the gaps between groups are
_LATEST_S = 0.5  # later than the earliest stamp: a gap is not waited for any longer
_RECONCILE_PERIOD_S = 1.0
_LOOK_AFTER_NS, _LOOKS = 120_000_000, 8  # the stamp of a change: its first frames are served
_STEADY = Clock(clock_type=ClockType.STEADY_TIME)


@dataclass(frozen=True, kw_only=True)
class ManagerOptions:
    """What the manager may do, and how long it waits."""

    model_folders: tuple[str, ...] = parameter((), "folders searched before the installed ones")
    model_store: str = parameter("", "folder of releases; without it models cannot be changed")
    trust_file: str = parameter(
        "", "trusted keys, of `edge-perception models keygen`; empty: no change"
    )
    answer_timeout_s: float = parameter(
        2.0, "wait for a node's answer", unit="s", low=0.1, high=60.0
    )
    prepare_timeout_s: float = parameter(
        30.0, "wait for a node to load a model", unit="s", low=1.0, high=600.0
    )
    commit_delay_s: float = parameter(
        0.1,
        "a new model serves frames with stamps this much later than its commit",
        unit="s",
        low=0.0,
        high=10.0,
    )
    rollback_delay_s: float = parameter(
        0.03,
        "the same for a rollback to models that are still loaded",
        unit="s",
        low=0.0,
        high=10.0,
    )


class ModelManagerNode(PerceptionNode):
    """Lists, verifies and changes models through the services of the nodes that serve them."""

    def __init__(self, *, files: FileSystem | None = None, **kwargs: Any) -> None:
        """Declare parameters and offer the services.

        Args:
            files: what the store writes through; tests pass one that fails.
            kwargs: for the rclpy node.
        """
        super().__init__("model_manager", **kwargs)
        self._options = self.declare_parameters_of(ManagerOptions)
        self._limits = self.declare_parameters_of(AdmissionLimits, prefix="admission_")
        self._files = files or FileSystem()
        self._store: ReleaseStore | None = None
        self._feed: EventFeed | None = None
        self._lock: FileLock | None = None
        self._off = "the manager is not configured"  # why models cannot be changed; empty: on
        self._fused: deque[bytes] = deque(maxlen=_GROUPS)
        # A service that waits for other nodes must not keep their answers from being taken.
        self._group = ReentrantCallbackGroup()
        self.node, self.client = self, ModelClient(self, self._group)
        self._coordinator = SwapCoordinator(self)
        self._events = self.create_publisher(msg.ModelEvent, "model_events", qos.EVENTS)
        for type_, name, callback in (
            (srv.ListModels, "~/list_models", self._on_list_models),
            (srv.GetVersions, "~/get_versions", self._on_get_versions),
            (srv.VerifyModel, "~/verify_model", self._on_verify_model),
            (srv.SwapModel, "~/swap_model", self._on_swap_model),
            (srv.RollbackModel, "~/rollback_model", self._on_rollback_model),
        ):
            self.create_service(type_, name, callback, callback_group=self._group)
        self._action = ActionServer(
            self,
            action.SwapModel,
            "~/swap",
            execute_callback=self._on_swap_action,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=self._group,
        )
        self._feedback: dict[str, Any] = {}
        self._reconciler = self._timer(_RECONCILE_PERIOD_S, self._on_reconcile)
        self._looker = self._timer(_LOOK_AFTER_NS / 1e9, self._on_look)
        self._looks_left = 0
        self._left: dict[str, str] = {}  # models of the last change, which the nodes may keep

    # -- lifecycle --

    def configure(self) -> None:
        """Open the store, and finish or undo what a dead manager left."""
        options = self._options.config
        if not options.model_store:
            self._off = "swapping is off: set model_store and trust_file"
            return
        self._off = "" if options.trust_file else "swapping is off: no trusted keys, set trust_file"
        root = Path(options.model_store).expanduser()
        try:
            self._store = ReleaseStore(root, files=self._files)
            lock = FileLock(root / "manager.lock")
            if not lock.acquire():
                raise StoreError(f"process {lock.holder()} is the manager of {root}")
            self._lock = lock
            log = EventLog(root / "events.jsonl", self._files)
            self._feed = EventFeed(self._events.publish, log)
            note = self._store.recover()
            if options.trust_file:
                self.trust()
        except (ModelError, OSError) as error:
            self._off = f"swapping is off: {error}"
            self.get_logger().error(self._off)
            return
        if note:
            self.event("recovered", "", reason=note)
        self._reconciler.reset()

    def activate(self) -> None:
        """Listen to the fused views, whose gaps tell when a change may take effect."""
        self._receiver = Receiver(
            self, on_error=lambda error: self.get_logger().error(f"{error!r}")
        )
        self._receiver.subscribe_serialized(
            msg.FusedPerception,
            "perception/fused",
            lambda data: self._fused.append(data),
            qos.FUSED,
        )
        self._receiver.start()

    def deactivate(self) -> None:
        """Stop listening."""
        self._receiver.stop()

    def cleanup(self) -> None:
        """Give the store back."""
        self._reconciler.cancel()
        self._looker.cancel()
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._store = None

    def health(self) -> Health:
        """Say which nodes serve models, and whether they can be changed."""
        nodes = self.client.nodes()
        level, text = Level.OK, f"{len(nodes)} nodes serve models"
        if not nodes:
            level, text = Level.WARN, "no node serves a model"
        elif self._off and self._options.config.trust_file:
            level, text = Level.ERROR, self._off
        elif self._feed is not None and self._feed.problem:
            level, text = Level.WARN, f"newest event {self._feed.problem}"
        return Health(
            level=level,
            message=text,
            values={
                "nodes": " ".join(nodes),
                "swapping": self._off or "on",
                "transaction": self._coordinator.busy or "none",
            },
        )

    # -- what a change needs of this node --

    @property
    def store(self) -> ReleaseStore:
        """The store.

        Raises:
            SwapError: models cannot be changed; the text says why.
        """
        if self._off or self._store is None:
            raise SwapError(self._off or "the manager is not configured")
        return self._store

    def options(self) -> ManagerOptions:
        """Return the parameters."""
        return self._options.config

    def limits(self) -> AdmissionLimits:
        """Return what a candidate may cost."""
        return self._limits.config

    def trust(self) -> Trust:
        """Return the trusted keys; read anew, so that a rotation holds at once."""
        return read_trust(Path(self._options.config.trust_file).expanduser())

    def folders(self) -> list[Path]:
        """Return the folders of bundles that came with the software."""
        return model_folders(self._options.config.model_folders)

    def change_stamp_ns(self, delay_s: float, *, soonest: bool = False) -> int:
        """Return a stamp between two groups of frames that fusion joins.

        Args:
            delay_s: from now on; nodes must hear of the change before.
            soonest: anywhere between two groups, not in the middle.
        """
        groups = []
        for data in list(self._fused):
            view = deserialize_message(data, msg.FusedPerception)
            stamps = [
                stamp_ns(status.stamp)
                for status in view.sources
                if status.contributed and status.modality != "audio"  # a stream sets no pace
            ]
            if stamps:
                newest = stamp_ns(view.header.stamp)
                groups.append((min(min(stamps), newest), newest))
        earliest = self.get_clock().now().nanoseconds + round(delay_s * 1e9)
        latest = earliest + round(_LATEST_S * 1e9)
        return change_stamp(groups, earliest_ns=earliest, latest_ns=latest, soonest=soonest)

    def event(
        self,
        event: str,
        transaction_id: str,
        *,
        error: bool = False,
        reason: str = "",
        models: list[msg.ModelVersion] | None = None,
    ) -> None:
        """Publish a step, and write it to the log of the store."""
        models = models or []
        now = self.get_clock().now()
        message = msg.ModelEvent(
            stamp=now.to_msg(),
            transaction_id=transaction_id,
            event=event,
            error=error,
            reason=reason,
            models=models,
        )
        goal = self._feedback.get("goal")
        told = None
        if goal is not None and self._coordinator.busy == transaction_id:

            def told(told: msg.ModelEvent) -> None:
                goal.publish_feedback(action.SwapModel.Feedback(event=told))

        if self._feed is not None:
            self._feed.put(message, now.nanoseconds, told=told)
        names = " ".join(f"{m.role}={m.name}:{m.version}" for m in models)
        text = f"{event} {names} {reason}".strip()
        if error:  # rclpy refuses another severity from the same line
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)
        if event == LATE:
            self._reconciler.reset()

    def changed(self, stamp_ns: int, left: ModelSet) -> None:
        """Ask the nodes again, soon after the stamp, until they keep the models that left."""
        self._left = dict(left)
        delay_ns = stamp_ns - self.get_clock().now().nanoseconds
        self._looks_left = _LOOKS
        self._looker.timer_period_ns = _LOOK_AFTER_NS + max(delay_ns, 0)
        self._looker.reset()

    # -- services --

    def _on_list_models(
        self, request: srv.ListModels.Request, response: srv.ListModels.Response
    ) -> srv.ListModels.Response:
        seen = set()
        for release in self._store.releases() if self._store else ():
            seen.add(release.sha256)
            response.models.append(self._stored(release))
        for bundle in list_bundles(self.folders()):
            if bundle.sha256 not in seen:
                response.models.append(_info(bundle, "installed"))
        if request.role:
            response.models = [m for m in response.models if m.model.role == request.role]
        return response

    async def _on_get_versions(
        self, _request: srv.GetVersions.Request, response: srv.GetVersions.Response
    ) -> srv.GetVersions.Response:
        timeout_s = self._options.config.answer_timeout_s
        response.models, response.unreachable = await self.client.versions(timeout_s)
        for info in response.models:
            info.signer = self._signer(info.model.sha256)
        return response

    def _on_verify_model(
        self, request: srv.VerifyModel.Request, response: srv.VerifyModel.Response
    ) -> srv.VerifyModel.Response:
        try:
            bundle = self._verified(request.name, request.version)
            response.model = model_msg(bundle.version_for(bundle.manifest.role))
            response.success = True
        except EdgePerceptionError as error:
            response.problems = [str(error)]
        return response

    async def _on_swap_model(
        self, request: srv.SwapModel.Request, response: srv.SwapModel.Response
    ) -> srv.SwapModel.Response:
        try:
            change = await self._coordinator.swap(
                role=request.role,
                name=request.name,
                version=request.version,
                skip_trial=request.skip_trial,
            )
            _fill(response, change, request.role)
        except EdgePerceptionError as error:
            self._refused(error, response)
        return response

    async def _on_rollback_model(
        self, request: srv.RollbackModel.Request, response: srv.RollbackModel.Response
    ) -> srv.RollbackModel.Response:
        slot = request.slot or "previous"
        try:
            if slot not in ("previous", "factory"):
                raise SwapError(f"slot: expected previous or factory, got '{slot}'")
            models = self.store.slot(slot)
            if not models or request.role not in ("", *models):
                raise SwapError(f"{request.role or 'models'}: no {slot} set known")
            change = await self._coordinator.go_to(
                models, f"rollback to {slot}", quarantine=request.reason
            )
            _fill(response, change, request.role)
        except EdgePerceptionError as error:
            self._refused(error, response)
        return response

    async def _on_swap_action(self, goal: Any) -> Any:
        result = action.SwapModel.Result()
        request = goal.request
        if self._coordinator.busy:
            result.reason = f"a change is under way (transaction {self._coordinator.busy})"
            goal.abort()
            return result
        self._feedback["goal"] = goal
        try:
            change = await self._coordinator.swap(
                role=request.role,
                name=request.name,
                version=request.version,
                skip_trial=request.skip_trial,
                cancelled=lambda: goal.is_cancel_requested,
            )
            _fill(result, change, request.role)
            await self._events_told()
            goal.succeed()
        except EdgePerceptionError as error:
            self._refused(error, result)
            await self._events_told()
            (goal.canceled if goal.is_cancel_requested else goal.abort)()
        finally:
            self._feedback.clear()
        return result

    async def _on_reconcile(self) -> None:
        """Bring the nodes to the current set of the store: at start, and where one was late."""
        if self._coordinator.busy or self._store is None or not self.client.nodes():
            return
        self._reconciler.cancel()
        try:
            wanted = self._store.slot("current")
            serving = await self._coordinator.look()
            if not self._off and serving.differing(wanted):
                await self._coordinator.go_to(wanted, "start with the current set")
        except EdgePerceptionError as error:
            self.event("not reconciled", "", error=True, reason=f"current set: {error}")

    async def _on_look(self) -> None:
        """Learn after a change what the nodes keep, so that a rollback need not ask them."""
        if self._coordinator.busy or self._store is None:
            return
        self._looks_left -= 1
        self._looker.timer_period_ns *= 2  # a sensor may be silent
        kept = False
        with contextlib.suppress(SwapError):  # a node that is silent now is asked again
            serving = await self._coordinator.look()
            kept = all(serving.kept.get(role) == sha256 for role, sha256 in self._left.items())
        if kept or self._looks_left <= 0:
            self._looker.cancel()

    # -- helpers --

    def _timer(self, period_s: float, callback: Callable[[], Any]) -> Any:
        return self.create_timer(
            period_s, callback, callback_group=self._group, clock=_STEADY, autostart=False
        )

    async def _events_told(self) -> None:
        if self._feed is not None:
            await in_thread(self, self._feed.flush)

    def _verified(self, name: str, version: str) -> Bundle:
        """Find a release of the store or an installed bundle, every file read and checked."""
        if self._store is not None and not self._off:
            try:
                release = self._store.find(name, version)
            except StoreError:
                release = None
            if release is not None:
                now_ns = self.get_clock().now().nanoseconds
                self._store.verify(release, self.trust(), now_ns=now_ns)
                return release.bundle
        bundle = find_bundle(name, self.folders())
        if version and bundle.manifest.version != version:
            raise SwapError(f"{name}: expected version {version}, got {bundle.manifest.version}")
        return bundle

    def _stored(self, release: Release) -> msg.ModelInfo:
        assert self._store is not None
        slots = [
            slot
            for slot in ("current", "previous", "factory")
            if release.sha256 in self._store.slot(slot).values()
        ]
        info = _info(release.bundle, "+".join(slots) or "stored")
        info.signer = self._signer(release.sha256)
        info.last_error = f"quarantined: {release.quarantined}" if release.quarantined else ""
        return info

    def _signer(self, sha256: str) -> str:
        if self._store is None or not self._store.has(sha256):
            return ""
        return self._store.signers(sha256)

    def _refused(self, error: EdgePerceptionError, response: Any) -> None:
        response.reason = str(error)
        self.get_logger().warning(f"refused: {error}")


def _fill(response: Any, change: Change, role: str) -> None:
    roles = list(change.releases)
    first = role if role in roles else roles[0]
    after = {
        name: model_msg(release.bundle.version_for(name))
        for name, release in change.releases.items()
    }
    response.success = True
    response.current = after[first]
    response.models = list({**change.serving.versions, **after}.values())
    if hasattr(response, "previous"):
        response.previous = change.serving.versions[first]
        response.transaction_id = change.transaction_id


def _info(bundle: Bundle, slot: str) -> msg.ModelInfo:
    return msg.ModelInfo(
        model=model_msg(bundle.version_for(bundle.manifest.role)),
        slot=slot,
        precision=bundle.manifest.runtime.precision,
    )


main = functools.partial(run, lambda: [ModelManagerNode()])
