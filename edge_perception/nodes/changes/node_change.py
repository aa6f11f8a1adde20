"""The part of a change that the nodes do: load and warm, serve from a stamp on, or drop it."""

from __future__ import annotations

from collections.abc import Mapping

from rclpy.task import Future

from edge_perception import srv
from edge_perception.core.errors import SwapError
from edge_perception.nodes.changes.change import Change
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.conversion import time_msg
from edge_perception.nodes.links.request_token import sign_request

_AGAIN_S = 0.02


class NodeChange:
    """Calls the services of the nodes of a change."""

    def __init__(self, parts: ManagerParts) -> None:
        self._parts, self._client = parts, parts.client

    async def prepare(self, change: Change) -> None:
        """Let the nodes load and warm; sessions that are loaded already are taken all at once.

        Raises:
            SwapError: what the nodes say against it.
        """
        if change.warm:
            await self._prepare_at(change, list(change.releases))
            return
        # One node after the other, each between two groups of frames: loading takes the cores that
        # the running models need, and nodes know of no frames but their own.
        for role in change.releases:
            await self._parts.after_view()
            await self._prepare_at(change, [role])

    async def _prepare_at(self, change: Change, roles: list[str]) -> None:
        options = self._parts.options()
        end_ns = self._parts.steady_ns() + round(options.answer_timeout_s * 1e9)
        refused: dict[str, str] = {}
        while roles:
            requests = {}
            for role in roles:
                name = f"{change.nodes[role]}/prepare_model"
                requests[name] = sign_request(self._parts.managed, name, _request(change, role))
            answers = await self._client.call_all(
                srv.PrepareModel, requests, options.prepare_timeout_s
            )
            again = []
            for role, (name, answer) in zip(roles, answers.items(), strict=True):
                if isinstance(answer, SwapError):
                    refused[role] = str(answer)
                elif answer.success:
                    change.prepared[role] = answer.transaction_id
                else:
                    if await self._waits(change, role, answer.reason):
                        again.append(role)
                    refused[role] = f"{name}: {answer.reason}"
            if set(refused) - set(again) or self._parts.steady_ns() > end_ns:
                break
            if again:
                refused.clear()
                await self._client.sleep(_AGAIN_S)
            roles = again
        if refused:
            raise SwapError("; ".join(refused.values()))

    async def _waits(self, change: Change, role: str, reason: str) -> bool:
        """Whether a node that refused takes the same request a little later."""
        if "already (transaction" in reason:
            # Only one manager holds the store, so this was left by one that died.
            name = f"{change.nodes[role]}/abort_model"
            await self._client.call(
                srv.AbortModel,
                name,
                sign_request(self._parts.managed, name, srv.AbortModel.Request()),
                self._parts.options().answer_timeout_s,
            )
            return True
        return "not taken effect" in reason

    def send(
        self, change: Change, stamp_ns: int, requests: Mapping[str, srv.CommitModel.Request]
    ) -> dict[str, tuple[str, Future]]:
        """Tell all nodes from which stamp on they serve the new models, without waiting."""
        sent = {}
        for role, request in requests.items():
            request.effective_stamp = time_msg(stamp_ns)
            name = f"{change.nodes[role]}/commit_model"
            sign_request(self._parts.managed, name, request)
            sent[role] = (name, self._client.send(srv.CommitModel, name, request))
        return sent

    async def followed(
        self, sent: Mapping[str, tuple[str, Future]]
    ) -> tuple[dict[str, str], list[str]]:
        """Wait for the answers to `send`.

        Returns:
            By role why one did not do it; what those that did have to tell.
        """
        timeout_s = self._parts.options().answer_timeout_s
        problems, notes = {}, []
        for role, (name, future) in sent.items():
            try:
                answer = await self._client.answer(name, future, timeout_s)
                if not answer.success:
                    problems[role] = f"{name}: {answer.reason}"
                elif answer.reason:
                    notes.append(f"{name}: {answer.reason}")
            except SwapError as error:
                problems[role] = str(error)
        return problems, notes

    async def drop(self, change: Change) -> None:
        """Let every node drop what it prepared; the models that ran go on."""
        requests = {}
        for role, id_ in change.prepared.items():
            name = f"{change.nodes[role]}/abort_model"
            request = srv.AbortModel.Request(transaction_id=id_)
            requests[name] = sign_request(self._parts.managed, name, request)
        timeout_s = self._parts.options().answer_timeout_s
        answers = await self._client.call_all(srv.AbortModel, requests, timeout_s)
        for answer in answers.values():
            if isinstance(answer, SwapError):
                self._parts.node.get_logger().warning(f"abort: {answer}")


def _request(change: Change, role: str) -> srv.PrepareModel.Request:
    release = change.releases[role]
    if change.warm:  # by digest only
        return srv.PrepareModel.Request(sha256=release.sha256)
    manifest = release.manifest
    return srv.PrepareModel.Request(
        name=manifest.name, version=manifest.version, sha256=release.sha256
    )
