"""The services by which the model manager changes and asks for a node's model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from edge_perception import msg, srv
from edge_perception.core.errors import EdgePerceptionError, SwapError
from edge_perception.core.types import ModelCommit
from edge_perception.models.loading import ModelOptions
from edge_perception.nodes.common.in_thread import in_thread
from edge_perception.nodes.conversion import model_msg, stamp_ns
from edge_perception.nodes.links.request_token import TokenGate
from edge_perception.releases.candidate import MODES, CandidateTrial
from edge_perception.releases.swap import SwapSequence


class ModelHost(Protocol):
    """A node that serves a model."""

    def prepare_model(self, name: str, version: str, sha256: str) -> None:
        """Load and warm a model beside the running one; runs in a thread of its own."""
        ...

    def prepare_kept(self, sha256: str) -> bool:
        """Prepare the model that served before; False: it is not loaded any more."""
        ...

    def try_model(self, mode: str, share: float, deadline_ms: float) -> CandidateTrial:
        """Let the prepared model run on some frames, and return its counts."""
        ...

    @property
    def model_changing(self) -> bool:
        """Whether a committed change has not taken effect everywhere."""
        ...

    def commit_model(self, effective_stamp_ns: int) -> ModelCommit:
        """Let the prepared model serve from a stamp on, and return what it is and what is late."""
        ...

    def abort_model(self) -> None:
        """Drop the prepared model."""
        ...

    def model_infos(self) -> list[msg.ModelInfo]:
        """Return what is served now."""
        ...


class ModelServices:
    """~/prepare_model, ~/commit_model, ~/abort_model and ~/get_versions of one node."""

    def __init__(self, node: Node, host: ModelHost, options: Callable[[], ModelOptions]) -> None:
        """Offer the services.

        Args:
            node: whose services they are.
            host: what serves a model.
            options: say whether only the manager is answered.
        """
        self._node, self._host = node, host
        self._tokens = TokenGate(node.get_fully_qualified_name(), options)
        self._sequence = SwapSequence()
        # Its own group: while a model loads, sensor messages must be taken.
        group = ReentrantCallbackGroup()
        for type_, name, callback in (
            (srv.PrepareModel, "~/prepare_model", self._on_prepare),
            (srv.TrialModel, "~/trial_model", self._on_trial),
            (srv.CommitModel, "~/commit_model", self._on_commit),
            (srv.AbortModel, "~/abort_model", self._on_abort),
            (srv.GetVersions, "~/get_versions", self._on_get_versions),
        ):
            node.create_service(type_, name, callback, callback_group=group)

    def reset(self) -> None:
        """Forget what was prepared: the node has released its models."""
        self._sequence.drop()

    async def _on_prepare(
        self, request: srv.PrepareModel.Request, response: srv.PrepareModel.Response
    ) -> srv.PrepareModel.Response:
        try:
            self._tokens.check("prepare_model", request)
            transaction_id = self._begin()
        except EdgePerceptionError as error:
            response.reason = str(error)
            return response
        started_ns = self._node.get_clock().now().nanoseconds
        failure = await self._prepare(request)
        if failure is not None:
            self._sequence.failed()
            response.reason = _why(failure)
            return response
        self._sequence.prepared()
        response.success, response.transaction_id = True, transaction_id
        response.load_s = (self._node.get_clock().now().nanoseconds - started_ns) / 1e9
        return response

    def _begin(self) -> str:
        if self._host.model_changing:
            raise SwapError("the last change has not taken effect yet")
        return self._sequence.begin()

    async def _prepare(self, request: srv.PrepareModel.Request) -> BaseException | None:
        try:
            if not request.name and self._host.prepare_kept(request.sha256):
                return None
        except Exception as error:
            return error
        return await in_thread(
            self._node,
            lambda: self._host.prepare_model(request.name, request.version, request.sha256),
        )

    def _on_trial(
        self, request: srv.TrialModel.Request, response: srv.TrialModel.Response
    ) -> srv.TrialModel.Response:
        try:
            if request.mode != srv.TrialModel.Request.STATUS:  # which changes nothing
                self._tokens.check("trial_model", request)
            self._sequence.check(request.transaction_id)
            modes = (*MODES, srv.TrialModel.Request.STATUS)
            if request.mode not in modes or not 0.0 <= request.share <= 1.0:
                raise SwapError(
                    f"expected a mode of {', '.join(modes)} and a share of 0 to 1, got "
                    f"'{request.mode}' and {request.share:g}"
                )
            trial = self._host.try_model(request.mode, request.share, request.deadline_ms)
        except EdgePerceptionError as error:
            response.reason = str(error)
            return response
        evidence = trial.evidence()
        response.success = True
        response.mode, response.stateful = trial.mode, trial.stateful
        response.reason = trial.last_error
        response.samples, response.errors = evidence.samples, evidence.errors
        response.failed, response.failure = bool(evidence.failure), evidence.failure
        response.paired = evidence.paired
        response.difference_mean_s = evidence.difference_mean_s
        response.difference_variance_s2 = evidence.difference_variance_s2
        response.current_mean_s = evidence.current_mean_s
        response.compared, response.comparable = evidence.compared, evidence.comparable
        response.checks = list(evidence.behaviour)
        known = evidence.behaviour.values()
        response.means = [item.mean for item in known]
        response.mean_errors = [item.error for item in known]
        response.counts = [item.count for item in known]
        response.blocks = [item.blocks for item in known]
        return response

    def _on_commit(
        self, request: srv.CommitModel.Request, response: srv.CommitModel.Response
    ) -> srv.CommitModel.Response:
        try:
            self._tokens.check("commit_model", request)
            transaction_id = request.transaction_id
            if request.kept_sha256:
                transaction_id = self._take_kept(request.kept_sha256)
            self._sequence.end(transaction_id)
            committed = self._host.commit_model(stamp_ns(request.effective_stamp))
        except EdgePerceptionError as error:
            response.reason = str(error)
            return response
        response.success, response.reason = True, committed.note
        response.current = model_msg(committed.version)
        return response

    def _take_kept(self, sha256: str) -> str:
        """Prepare the model before without a request of its own; return the transaction."""
        transaction_id = self._begin()
        try:
            if not self._host.prepare_kept(sha256):
                raise SwapError(f"model {sha256[:12]} is not loaded any more")
        except BaseException:
            self._sequence.failed()
            raise
        self._sequence.prepared()
        return transaction_id

    def _on_abort(
        self, request: srv.AbortModel.Request, response: srv.AbortModel.Response
    ) -> srv.AbortModel.Response:
        try:
            self._tokens.check("abort_model", request)
            if request.transaction_id:
                self._sequence.end(request.transaction_id)
                self._host.abort_model()
            elif self._sequence.drop():  # left by a manager that died
                self._host.abort_model()
            response.success = True
        except EdgePerceptionError as error:
            response.reason = str(error)
        return response

    def _on_get_versions(
        self, _request: srv.GetVersions.Request, response: srv.GetVersions.Response
    ) -> srv.GetVersions.Response:
        response.models = self._host.model_infos()
        return response


def _why(error: BaseException) -> str:
    """Return a reason; the text of an error of somebody else alone may be a number or a name."""
    known = isinstance(error, EdgePerceptionError)
    return str(error) if known else f"{type(error).__name__}: {error}"
