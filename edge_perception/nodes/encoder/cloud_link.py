"""Doubtful frames of an encoder node to servers; off until a server is named."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from edge_perception.core.health import Health, Level, worst
from edge_perception.core.types import Feature, Geometry
from edge_perception.fleet.cloud.crops import CropCutter
from edge_perception.fleet.cloud.options import CROPS, CloudOptions, parsed_tiers
from edge_perception.fleet.cloud.privacy import PrivacyFilter
from edge_perception.fleet.cloud.route import CloudRoute
from edge_perception.fleet.cloud.tier import make_tiers
from edge_perception.models.manifest import Bundle
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.encoder.parameters import EncoderParameters
from edge_perception.nodes.links.late_evidence import LatePublisher
from edge_perception.releases.loading import find_verified


class CloudLink:
    """The route of one source, from activation to deactivation.

    Args:
        node: the encoder.
        parameters: which frames, to whom; where bundles are found, and who must have signed them.
        on_error: takes what nothing in the route should have raised.
    """

    def __init__(
        self,
        node: PerceptionNode,
        parameters: EncoderParameters,
        on_error: Callable[[Exception], None],
    ) -> None:
        self._node, self._spec, self._on_error = node, parameters.spec, on_error
        self._source = parameters.source.config.source
        self._options, self._model = parameters.cloud, parameters.model
        self._route: CloudRoute | None = None
        self._publisher: LatePublisher | None = None

    @property
    def seen(self) -> Callable[[Any, Feature, Geometry, Bundle], None] | None:
        """Takes each frame after its feature has left; None: no server is named."""
        return None if self._route is None else self._route.offer

    def start(self, serving: Bundle) -> None:
        """Begin where a server is named.

        Raises:
            EdgePerceptionError: the options cannot be followed with what serves.
        """
        options = self._options.config
        if not options.tiers:
            return
        has_images = self._spec.calibration is not None
        privacy = PrivacyFilter(options, has_images=has_images)
        privacy.check(serving.manifest)
        tiers = make_tiers(
            parsed_tiers(options.tiers),
            self._spec,
            lambda name: find_verified(self._model.config, name),
            steady_s=time.monotonic,
            compressed=options.send == CROPS,
        )
        self._publisher = LatePublisher(self._node, self._source)
        self._route = CloudRoute(
            options,
            self._spec,
            tiers,
            privacy,
            CropCutter(options, self._spec),
            clock=self._node.clock,
            sink=self._publisher.publish,
            on_error=self._on_error,
        )
        self._route.start()

    def stop(self) -> None:
        """End; safe more than once."""
        route, self._route = self._route, None
        if route is not None:
            route.stop()
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()

    def change(self, options: CloudOptions) -> None:
        """Take what may change while it runs."""
        if self._route is not None:
            self._route.options = options

    def finding(self) -> Health:
        """Return what diagnostics say of it."""
        if self._route is None or self._publisher is None:
            return Health(level=Level.OK, message="")
        health = self._route.health()
        if self._route.counts()["answered"] and not self._publisher.heard:
            text = "cloud: answers come and nobody takes them; set late_hold_s of fusion"
            health = worst(health, Health(level=Level.WARN, message=text, values=health.values))
        return health
