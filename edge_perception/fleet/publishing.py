"""A bundle goes into a registry: archive and deltas in pieces, and the document that says so."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_perception.core.errors import RegistryError
from edge_perception.core.version import parse_version
from edge_perception.fleet.delta import make_delta
from edge_perception.fleet.documents import ANY_DEVICE, Delta, ReleaseDocument
from edge_perception.fleet.pieces import PIECE_BYTES, publish
from edge_perception.fleet.places import ObjectPlace
from edge_perception.models.manifest import Bundle, file_entry
from edge_perception.releases.archive import pack

EVIDENCE = "edge_perception/evidence/1"
_WORTH = 0.9  # of the whole archive


def publish_release(
    bundle: Bundle,
    place: ObjectPlace,
    *,
    bases: Sequence[Bundle] = (),
    device_class: str = ANY_DEVICE,
    measured: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    piece_bytes: int = PIECE_BYTES,
) -> ReleaseDocument:
    """Write a signed bundle in pieces; return its document, which makes nothing public yet.

    Args:
        bundle: signed.
        place: of the registry.
        bases: older releases that robots have; a delta is kept only where it is smaller.
        device_class: the hardware that this variant is for.
        measured: what was measured on which device, such as latency_ms and watts.
        evidence: of `evaluate --candidate --json`, that it is better than what serves.
        metrics: beside those of its manifest, such as those of the run that made it.
        piece_bytes: how much a break of the link costs.

    Raises:
        RegistryError: the evidence is of another bundle, or says that it is not better.
    """
    manifest = bundle.manifest
    if evidence is not None:
        check_evidence(evidence, bundle)
    parse_version(manifest.version)
    with tempfile.TemporaryDirectory(prefix="registry_") as folder:
        archive = pack(bundle, Path(folder) / "new")
        pieces = publish(archive, place, piece_bytes)
        deltas = []
        for base in bases:
            base_archive = pack(base, Path(folder) / "base")
            patch = Path(folder) / "patch"
            if make_delta(base_archive, archive, patch) > _WORTH * pieces.size:
                continue  # the whole archive needs no base
            entry = file_entry(base_archive)
            deltas.append(
                Delta(
                    base=base.sha256,
                    base_sha256=entry.sha256,
                    base_size=entry.size,
                    patch=publish(patch, place, piece_bytes),
                )
            )
    calibration = manifest.calibration_set
    return ReleaseDocument(
        name=manifest.name,
        role=manifest.role,
        version=manifest.version,
        release=manifest.release,
        device_class=device_class,
        manifest_sha256=bundle.sha256,
        archive=pieces,
        deltas=tuple(deltas),
        metrics={**manifest.provenance.metrics, **(metrics or {})},
        measured=dict(measured or {}),
        evidence=dict(evidence or {}),
        calibration_set=f"{calibration.name} {calibration.sha256}" if calibration else "",
        changelog=manifest.changelog,
        licence=manifest.provenance.licence,
    )


def check_evidence(evidence: Mapping[str, Any], bundle: Bundle) -> None:
    """Refuse evidence that does not say that this bundle is better.

    Raises:
        RegistryError: it is none, is of another bundle, or says that it is not.
    """
    if evidence.get("schema") != EVIDENCE or not isinstance(evidence.get("candidate"), Mapping):
        raise RegistryError(f"evidence: expected that of `evaluate --candidate` ({EVIDENCE})")
    got = evidence["candidate"].get(bundle.manifest.role)
    if got != bundle.sha256:
        raise RegistryError(
            f"evidence: is of another {bundle.manifest.role}: expected manifest "
            f"{bundle.sha256[:12]}, got {str(got)[:12]}"
        )
    if evidence.get("better") is not True:
        raise RegistryError(f"evidence: {evidence.get('reason', 'does not say that it is better')}")
