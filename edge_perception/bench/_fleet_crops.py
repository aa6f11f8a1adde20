"""What crops of doubtful objects save of a question to a server, and what they cost of its answer.

Simulated streets, the real model on both sides, the real route and an HTTP server. What a
server says of the crops is held against what it says in the same places of the whole frame.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

_DOUBT_BITS = 0.5  # of a frame, to be asked about
_NEAR_M = 2.0
_SEEDS = range(100, 400)
_WAYS = {
    "frame": ("frame", "gzip=false"),
    "frame_gzip": ("frame", "gzip=true"),
    "crops": ("crops", "gzip=true"),
}


def crop_savings(frames: int, role: str) -> dict[str, Any]:
    """Return bytes of a question with its answer by what is sent, and how alike answers are.

    Args:
        frames: doubtful ones to ask about.
        role: camera or lidar.
    """
    from edge_perception.backends.kserve.server import ModelServer
    from edge_perception.core.share import share_file
    from edge_perception.encoders import encoders
    from edge_perception.models.loading import ModelOptions, open_bundle
    from edge_perception.models.manifest import load_bundle
    from edge_perception.models.triton_repository import stated_by

    bundle = load_bundle(share_file(f"models/bev_lite/{role}"))
    spec = encoders()[role]
    backend = open_bundle(bundle, ModelOptions(model=f"bev_lite/{role}")).backend
    encoder = spec.make_encoder(bundle.manifest, backend)
    server = ModelServer(bundle.manifest.name, backend, stated_by(bundle))
    routes = {name: _Asked(spec, server.url, *way) for name, way in _WAYS.items()}
    asked, same, said, took_s = 0, 0, 0, dict.fromkeys(_WAYS, 0.0)
    try:
        for seed in _SEEDS:
            doubtful = _doubtful(seed, encoder, bundle, role)
            if doubtful is None:
                continue
            answers = {}
            for name, route in routes.items():
                begin_s = time.perf_counter()
                answers[name] = route.ask(doubtful, count=asked > 0)
                took_s[name] += (time.perf_counter() - begin_s) * (asked > 0)
            asked += 1
            if None in answers.values():
                continue
            of_frame = routes["crops"].within(answers["frame"], doubtful)
            of_crops = answers["crops"].objects
            said += len(of_frame)
            same += sum(any(_alike(a, b) for b in of_crops) for a in of_frame)
            if asked > frames:  # the first one is to get to know each other
                break
    finally:
        for route in routes.values():
            route.close()
        server.close()
        backend.close()
    count = max(asked - 1, 1)
    used = {name: route.bytes for name, route in routes.items()}
    found = {
        "bytes_per_question": {name: round(used[name] / count) for name in used},
        "crops_bytes_share": round(used["crops"] / max(used["frame"], 1), 4),
        "crops_of_gzip_share": round(used["crops"] / max(used["frame_gzip"], 1), 4),
        "question_ms": {name: round(took_s[name] / count * 1e3, 1) for name in used},
        "crops_questions": count,
        "crops_said": said,
        "crops_same_share": round(same / said, 4) if said else None,
    }
    return {f"cloud_{role}_{name}": value for name, value in found.items()}


def _alike(one: Any, other: Any) -> bool:
    """Whether two decisions say the same of the same place."""
    apart_m = math.dist(one.center_m[:2], other.center_m[:2])
    return apart_m <= _NEAR_M and one.class_name == other.class_name


class _Asked:
    """A route of one way to send."""

    def __init__(self, spec: Any, url: str, send: str, how: str) -> None:
        from edge_perception.core.clock import SystemClock
        from edge_perception.core.types import LateEvidence
        from edge_perception.fleet.cloud.crops import CropCutter
        from edge_perception.fleet.cloud.options import CloudOptions, parsed_tiers
        from edge_perception.fleet.cloud.privacy import PrivacyFilter
        from edge_perception.fleet.cloud.route import CloudRoute
        from edge_perception.fleet.cloud.tier import make_tiers

        self._clock, self.bytes = SystemClock(), 0
        late: list[LateEvidence] = []
        self._late = late
        options = CloudOptions(
            tiers=(f"site {url} mb_per_hour=1e6 deadline_ms=20000 {how}",),
            privacy="none",
            send=send,
            doubt_bits=_DOUBT_BITS,
            cache_s=0.0,
            most_age_s=60.0,
        )
        self._tiers = make_tiers(
            parsed_tiers(options.tiers), spec, _no_bundle, steady_s=time.monotonic
        )
        self._cutter = CropCutter(options, spec)
        self._route = CloudRoute(
            options,
            spec,
            self._tiers,
            PrivacyFilter(options, has_images=True),
            self._cutter,
            clock=self._clock,
            sink=self._late.append,
            on_error=_raise,
        )

    def ask(self, doubtful: Any, *, count: bool) -> Any:
        """Return the evidence; None: there is none."""
        now_ns = self._clock.now().node_ns
        asked = replace(doubtful, feature=replace(doubtful.feature, stamp_ns=now_ns))
        before, budget = len(self._late), self._tiers[0].budget
        used = budget.used(time.monotonic())
        self._route.handle(asked)
        if count:
            self.bytes += budget.used(time.monotonic()) - used
        return self._late[-1] if len(self._late) > before else None

    def within(self, evidence: Any, doubtful: Any) -> tuple[Any, ...]:
        """Return what evidence of the whole frame says of the places of the crops."""
        from edge_perception.encoders import EncoderOutput

        frame, geometry = doubtful.frame, doubtful.geometry
        crops = self._cutter.find(frame, doubtful.feature, geometry, least_bits=_DOUBT_BITS)
        output = EncoderOutput(objects=evidence.objects)
        return self._cutter.within(output, crops, frame, geometry).objects

    def close(self) -> None:
        """Close the connection."""
        for tier in self._tiers:
            tier.close()


def _doubtful(seed: int, encoder: Any, bundle: Any, role: str) -> Any:
    """Return a doubtful frame of a simulated street; None: the robot is sure of this one."""
    from edge_perception.core.doubt import doubt_bits
    from edge_perception.core.types import Feature, Geometry, ImageFrame, PointCloud
    from edge_perception.fleet.cloud.route import Doubtful
    from edge_perception.simulation.generate import generate_frame
    from edge_perception.simulation.scenario import random_scenario

    scenario = replace(random_scenario(seed), sensors=(role,))
    street = generate_frame(scenario, seed, 1.0)
    frame: ImageFrame | PointCloud | None = street.image
    geometry = street.camera_geometry
    if role == "lidar":
        frame, geometry = street.cloud, Geometry(T_base_sensor=street.T_base_lidar)
    assert frame is not None
    output = encoder.postprocess(
        encoder.infer(encoder.preprocess(frame, geometry)), frame, geometry
    )
    feature = Feature(
        stamp_ns=street.stamp_ns,
        frame_id=frame.frame_id,
        source=role,
        modality=role,
        model=bundle.version_for(role),
        sequence=1,
        objects=output.objects,
        image_objects=output.image_objects,
    )
    bits = doubt_bits(feature)
    if bits < _DOUBT_BITS:
        return None
    return Doubtful(frame=frame, feature=feature, geometry=geometry, bundle=bundle, bits=bits)


def _no_bundle(name: str) -> Any:
    raise AssertionError(name)


def _raise(error: Exception) -> None:
    raise error
