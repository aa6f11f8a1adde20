"""The model manager: knows the bundles on disk and the models in the nodes, and changes them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.task import Future

from edge_perception import msg, srv
from edge_perception.core.errors import EdgePerceptionError, SwapError
from edge_perception.core.health import Health, Level
from edge_perception.models.loading import model_folders
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.models.store import find_bundle, list_bundles
from edge_perception.nodes.base import PerceptionNode
from edge_perception.nodes.conversion import model_msg, time_msg
from edge_perception.nodes.spin import run

_STEADY = Clock(clock_type=ClockType.STEADY_TIME)
_GET_VERSIONS = "edge_perception/srv/GetVersions"


@dataclass(frozen=True, kw_only=True)
class ManagerOptions:
    """What the manager may do, and how long it waits."""

    model_folders: tuple[str, ...] = field(
        default=(), metadata={"text": "folders searched before the installed ones"}
    )
    allow_swap: bool = field(
        default=False, metadata={"text": "answer swap_model and rollback_model at all"}
    )
    answer_timeout_s: float = field(
        default=2.0,
        metadata={"text": "wait for a node's answer", "unit": "s", "min": 0.1, "max": 60.0},
    )
    prepare_timeout_s: float = field(
        default=30.0,
        metadata={"text": "wait for a node to load a model", "unit": "s", "min": 1.0, "max": 600.0},
    )
    commit_delay_s: float = field(
        default=0.2,
        metadata={
            "text": "a new model serves frames with stamps this much later than its commit",
            "unit": "s",
            "min": 0.0,
            "max": 10.0,
        },
    )


class ModelManagerNode(PerceptionNode):
    """Lists, verifies and swaps models through the services of the nodes that serve them."""

    POLL_PERIOD_S = 0.01

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("model_manager", **kwargs)
        self._options = self.declare_parameters_of(ManagerOptions)
        self._previous: dict[str, msg.ModelVersion] = {}
        self._factory: dict[str, msg.ModelVersion] = {}
        self._node_clients: dict[str, Client] = {}
        # A service that waits for other nodes must not keep their answers from being taken.
        self._group = ReentrantCallbackGroup()
        for type_, name, callback in (
            (srv.ListModels, "~/list_models", self._on_list_models),
            (srv.GetVersions, "~/get_versions", self._on_get_versions),
            (srv.VerifyModel, "~/verify_model", self._on_verify_model),
            (srv.SwapModel, "~/swap_model", self._on_swap_model),
            (srv.RollbackModel, "~/rollback_model", self._on_rollback_model),
        ):
            self.create_service(type_, name, callback, callback_group=self._group)

    def health(self) -> Health:
        """Say which nodes serve models, and whether swapping is on."""
        nodes = self._model_nodes()
        return Health(
            level=Level.OK if nodes else Level.WARN,
            message=f"{len(nodes)} nodes serve models" if nodes else "no node serves a model",
            values={
                "nodes": " ".join(nodes),
                "allow_swap": str(self._options.config.allow_swap),
            },
        )

    # -- services --

    def _on_list_models(
        self, request: srv.ListModels.Request, response: srv.ListModels.Response
    ) -> srv.ListModels.Response:
        for bundle in list_bundles(model_folders(self._options.config.model_folders)):
            if request.role in ("", bundle.manifest.role):
                response.models.append(_stored(bundle))
        return response

    async def _on_get_versions(
        self, _request: srv.GetVersions.Request, response: srv.GetVersions.Response
    ) -> srv.GetVersions.Response:
        response.models, response.unreachable = await self._versions()
        return response

    def _on_verify_model(
        self, request: srv.VerifyModel.Request, response: srv.VerifyModel.Response
    ) -> srv.VerifyModel.Response:
        try:
            bundle = self._find(request.name, request.version)
            response.model = model_msg(bundle.version_for(bundle.manifest.role))
            response.success = True
        except EdgePerceptionError as error:
            response.problems = [str(error)]
        return response

    async def _on_swap_model(
        self, request: srv.SwapModel.Request, response: srv.SwapModel.Response
    ) -> srv.SwapModel.Response:
        try:
            response.previous, response.current = await self._swap(
                request.role, request.name, request.version
            )
            response.success = True
        except EdgePerceptionError as error:
            response.reason = str(error)
        return response

    async def _on_rollback_model(
        self, request: srv.RollbackModel.Request, response: srv.RollbackModel.Response
    ) -> srv.RollbackModel.Response:
        slots = {"": self._previous, "previous": self._previous, "factory": self._factory}
        try:
            if request.slot not in slots:
                raise SwapError(f"slot: expected previous or factory, got '{request.slot}'")
            target = slots[request.slot].get(request.role)
            if target is None:
                raise SwapError(f"{request.role}: no {request.slot or 'previous'} model known")
            _, response.current = await self._swap(request.role, target.name, target.version)
            response.success = True
        except EdgePerceptionError as error:
            response.reason = str(error)
        return response

    # -- changing a model --

    async def _swap(
        self, role: str, name: str, version: str
    ) -> tuple[msg.ModelVersion, msg.ModelVersion]:
        if not self._options.config.allow_swap:
            raise SwapError("swapping is off: start the manager with allow_swap:=true")
        self._find(name, version)
        running, unreachable = await self._versions()
        served = next((info for info in running if info.model.role == role), None)
        if served is None:
            roles = ", ".join(sorted(info.model.role for info in running)) or "none"
            raise SwapError(f"no node serves role '{role}'; served: {roles}; silent: {unreachable}")
        prepared = await self._call(
            srv.PrepareModel,
            f"{served.node}/prepare_model",
            srv.PrepareModel.Request(name=name, version=version),
            self._options.config.prepare_timeout_s,
        )
        if not prepared.success:
            raise SwapError(f"{served.node} refused {name}: {prepared.reason}")
        delay_ns = round(self._options.config.commit_delay_s * 1e9)
        committed = await self._call(
            srv.CommitModel,
            f"{served.node}/commit_model",
            srv.CommitModel.Request(
                transaction_id=prepared.transaction_id,
                effective_stamp=time_msg(self.get_clock().now().nanoseconds + delay_ns),
            ),
            self._options.config.answer_timeout_s,
        )
        if not committed.success:
            raise SwapError(f"{served.node} did not commit {name}: {committed.reason}")
        self._factory.setdefault(role, served.model)
        self._previous[role] = served.model
        self.get_logger().info(
            f"{role}: {served.model.name} {served.model.version} -> "
            f"{committed.current.name} {committed.current.version}"
        )
        return served.model, committed.current

    def _find(self, name: str, version: str) -> Bundle:
        """Find and verify a bundle of the configured folders; paths are not names."""
        folders = model_folders(self._options.config.model_folders)
        bundle = load_bundle(find_bundle(name, folders).path)
        if version and bundle.manifest.version != version:
            raise SwapError(f"{name}: expected version {version}, got {bundle.manifest.version}")
        return bundle

    # -- asking the nodes --

    def _model_nodes(self) -> list[str]:
        own = f"{self.get_fully_qualified_name()}/get_versions"
        return sorted(
            name.removesuffix("/get_versions")
            for name, types in self.get_service_names_and_types()
            if _GET_VERSIONS in types and name != own
        )

    async def _versions(self) -> tuple[list[msg.ModelInfo], list[str]]:
        models, unreachable = [], []
        for node in self._model_nodes():
            try:
                answer = await self._call(
                    srv.GetVersions,
                    f"{node}/get_versions",
                    srv.GetVersions.Request(),
                    self._options.config.answer_timeout_s,
                )
                models.extend(answer.models)
            except SwapError:
                unreachable.append(node)
        return models, unreachable

    async def _call(self, type_: Any, name: str, request: Any, timeout_s: float) -> Any:
        """Call a service of another node.

        Raises:
            SwapError: no answer in time.
        """
        client = self._node_clients.get(name)
        if client is None:
            client = self.create_client(type_, name, callback_group=self._group)
            self._node_clients[name] = client
        if not await self._until(client.service_is_ready, timeout_s):
            raise SwapError(f"{name}: no such service within {timeout_s:g} s")
        answer = client.call_async(request)
        if not await self._until(answer.done, timeout_s):
            client.remove_pending_request(answer)
            raise SwapError(f"{name}: no answer within {timeout_s:g} s")
        return answer.result()

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait beside the executor until a condition holds; False after the time."""
        done: Future = Future(executor=self.executor)
        give_up_ns = self.clock.now().steady_ns + round(timeout_s * 1e9)

        def check() -> None:
            if not done.done() and (condition() or self.clock.now().steady_ns > give_up_ns):
                done.set_result(None)

        timer = self.create_timer(
            self.POLL_PERIOD_S, check, callback_group=self._group, clock=_STEADY
        )
        try:
            await done
        finally:
            self.destroy_timer(timer)
        return condition()


def _stored(bundle: Bundle) -> msg.ModelInfo:
    return msg.ModelInfo(
        model=model_msg(bundle.version_for(bundle.manifest.role)),
        slot="stored",
        precision=bundle.manifest.runtime.precision,
    )


main = functools.partial(run, lambda: [ModelManagerNode()])
