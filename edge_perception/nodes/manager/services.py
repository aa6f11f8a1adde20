"""The services of the model manager: requests to the parts, and their answers as messages."""

from __future__ import annotations

import time
import traceback
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup

from edge_perception import msg, srv
from edge_perception.core.errors import EdgePerceptionError, SwapError
from edge_perception.models.folders import list_bundles
from edge_perception.models.manifest import Bundle
from edge_perception.nodes.changes.change import Caller, Change
from edge_perception.nodes.changes.coordinator import SwapCoordinator
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.conversion import model_msg
from edge_perception.releases.shelf import Release
from edge_perception.releases.slots import SLOTS
from edge_perception.releases.store import ReleaseStore


class ManagerServices:
    """~/list_models, ~/get_versions, ~/verify_model, ~/swap_model and ~/rollback_model."""

    def __init__(
        self, parts: ManagerParts, coordinator: SwapCoordinator, group: ReentrantCallbackGroup
    ) -> None:
        self._parts, self._managed = parts, parts.managed
        self._coordinator = coordinator
        for type_, name, callback in (
            (srv.ListModels, "~/list_models", self._on_list_models),
            (srv.GetVersions, "~/get_versions", self._on_get_versions),
            (srv.VerifyModel, "~/verify_model", self._on_verify_model),
            (srv.SwapModel, "~/swap_model", self._on_swap_model),
            (srv.RollbackModel, "~/rollback_model", self._on_rollback_model),
        ):
            parts.node.create_service(type_, name, callback, callback_group=group)

    def _on_list_models(
        self, request: srv.ListModels.Request, response: srv.ListModels.Response
    ) -> srv.ListModels.Response:
        seen = set()
        store = self._managed.readable
        if store is not None:
            for release in store.releases():
                seen.add(release.sha256)
                response.models.append(_stored(store, release))
        for bundle in list_bundles(self._managed.folders):
            if bundle.sha256 not in seen:
                response.models.append(_info(bundle, "installed"))
        if request.role:
            response.models = [m for m in response.models if m.model.role == request.role]
        return response

    async def _on_get_versions(
        self, _request: srv.GetVersions.Request, response: srv.GetVersions.Response
    ) -> srv.GetVersions.Response:
        timeout_s = self._parts.options().answer_timeout_s
        response.models, response.unreachable = await self._parts.client.versions(timeout_s)
        for info in response.models:
            info.signer = self._managed.signers(info.model.sha256)
        return response

    def _on_verify_model(
        self, request: srv.VerifyModel.Request, response: srv.VerifyModel.Response
    ) -> srv.VerifyModel.Response:
        now_ns = time.time_ns()  # not /clock, which who plays a recording moves
        try:
            bundle = self._managed.verified(request.name, request.version, now_ns=now_ns)
            response.model = model_msg(bundle.version_for(bundle.manifest.role))
            response.success = True
        except (EdgePerceptionError, OSError) as error:
            response.problems = [str(error)]
        return response

    async def _on_swap_model(
        self, request: srv.SwapModel.Request, response: srv.SwapModel.Response
    ) -> srv.SwapModel.Response:
        await answer_swap(self._parts, self._coordinator, request, response, Caller())
        return response

    async def _on_rollback_model(
        self, request: srv.RollbackModel.Request, response: srv.RollbackModel.Response
    ) -> srv.RollbackModel.Response:
        slot = request.slot or "previous"
        try:
            if slot not in ("previous", "factory"):
                raise SwapError(f"slot: expected previous or factory, got '{slot}'")
            models = self._managed.store.slots.get(slot)
            if not models or request.role not in ("", *models):
                raise SwapError(f"{request.role or 'models'}: no {slot} set known")
            change = await self._coordinator.go_to(
                models, f"rollback to {slot}", quarantine=request.reason
            )
            _fill(response, change, request.role)
        except Exception as error:
            _refuse(self._parts, error, response)
        return response


async def answer_swap(
    parts: ManagerParts, coordinator: SwapCoordinator, request: Any, answer: Any, caller: Caller
) -> None:
    """Run the change of a request of `SwapModel`, service or action, and fill its answer."""
    try:
        change = await coordinator.swap(
            role=request.role,
            name=request.name,
            version=request.version,
            skip_trial=request.skip_trial,
            caller=caller,
        )
        _fill(answer, change, request.role)
    except Exception as error:
        _refuse(parts, error, answer)


def _refuse(parts: ManagerParts, error: Exception, response: Any) -> None:
    """Say why not; an error that nobody thought of ends the request and not the manager."""
    if isinstance(error, EdgePerceptionError):
        response.reason = str(error)
        parts.node.get_logger().warning(f"refused: {error}")
    else:
        response.reason = f"{type(error).__name__}: {error}"
        parts.node.get_logger().error("".join(traceback.format_exception(error)))


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


def _stored(store: ReleaseStore, release: Release) -> msg.ModelInfo:
    slots = [slot for slot in SLOTS if release.sha256 in store.slots.get(slot).values()]
    info = _info(release.bundle, "+".join(slots) or "stored")
    info.signer = store.shelf.signers(release.sha256)
    info.last_error = f"quarantined: {release.quarantined}" if release.quarantined else ""
    return info


def _info(bundle: Bundle, slot: str) -> msg.ModelInfo:
    return msg.ModelInfo(
        model=model_msg(bundle.version_for(bundle.manifest.role)),
        slot=slot,
        precision=bundle.manifest.runtime.precision,
    )
