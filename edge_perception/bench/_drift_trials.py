"""Drift on virtual drives: what is alarmed by nothing, and how soon planted shifts are found."""

from __future__ import annotations

from collections.abc import Mapping

from edge_perception.bench._virtual_drive import RATE_HZ, SHIFTS, VirtualDrive, per_frame
from edge_perception.monitoring.drift.detector import DriftDetector
from edge_perception.monitoring.drift.reference import Reference, Section, SectionBuilder

WITHIN_FRAMES = 1500  # 150 s at 10 Hz; docs/drift.md says so
_BEFORE_FRAMES = 3000  # a full window of good driving, so that a shift has to stand out of it


def section_of(
    seed: int, *, minutes: float = 40.0, shift: Mapping[str, float] | None = None
) -> Section:
    """Return reference statistics of a virtual drive."""
    drive, builder = VirtualDrive(seed), SectionBuilder()
    while drive.frame < minutes * 60.0 * RATE_HZ:
        for values, names in per_frame(*drive.block(shift)):
            builder.add(values, names)
    return builder.section()


def reference_of(**sections: Section) -> Reference:
    """Return a reference with these sections."""
    return Reference(
        schema_version=1,
        source="camera",
        modality="camera",
        model="virtual",
        model_sha256="0",
        sections=sections,
    )


def drive_on(
    detector: DriftDetector,
    drive: VirtualDrive,
    frames: int,
    shift: Mapping[str, float] | None = None,
    *,
    until: str = "",
) -> int | None:
    """Drive on for so many frames.

    Args:
        detector: takes them.
        drive: gives them.
        frames: how many.
        shift: as of `VirtualDrive.block`.
        until: ends as soon as this quantity is alarmed of.

    Returns:
        Frames until then; None: it was not.
    """
    start = drive.frame
    while drive.frame - start < frames:
        values, names = drive.block(shift)
        detector.add_many(drive.stamp_ns, values, names)
        if until and any(alert.quantity == until for alert in detector.alerts):
            return drive.frame - start
    return None


def false_alarms(reference: Reference, seed: int, hours: float) -> int:
    """Return the alerts of a drive in which nothing shifts."""
    detector = DriftDetector("camera", reference)
    drive_on(detector, VirtualDrive(seed), round(hours * 3600.0 * RATE_HZ))
    return detector.book.raised


def found_after(reference: Reference, seed: int, kind: str) -> int | None:
    """Return the frames until a planted shift of a kind is alarmed of by its name.

    None: it was not within `WITHIN_FRAMES`, or something was alarmed of before.
    """
    detector, drive = DriftDetector("camera", reference), VirtualDrive(seed)
    drive_on(detector, drive, _BEFORE_FRAMES)
    if detector.book.raised:
        return None
    return drive_on(detector, drive, WITHIN_FRAMES, {kind: SHIFTS[kind]}, until=kind)
