"""A live replay beside the lock-step one, as findings of the same result."""

from __future__ import annotations

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.validation.findings import Finding
from edge_perception.validation.live import STRICT, agree, run_live
from edge_perception.validation.merging import read_lines
from edge_perception.validation.replaying import FUSED
from edge_perception.validation.result import BagResult

POSITION_M, SCORE = 0.01, 0.01
MIN_MATCHED, MIN_OBJECTS = 0.5, 0.98


def add_live(result: BagResult, mode: str) -> None:
    """Play the recording of a result into the nodes and note how they agree.

    Raises:
        ConfigurationError: ROS is not installed.
    """
    if result.settings.what_if():
        raise ConfigurationError("--live: what-if changes are for lock step only")
    try:
        live = run_live(result.settings, result.folder / "live", mode=mode)
    except ConfigurationError:
        raise
    except EdgePerceptionError as error:
        result.findings.append(Finding(kind="live", text=str(error)))
        return
    found = agree(
        live.records, read_lines(result.folder / FUSED), position_m=POSITION_M, score=SCORE
    )
    good = found.matched_share >= MIN_MATCHED and found.objects_share >= MIN_OBJECTS
    dropped, skipped = sum(live.dropped.values()), sum(live.skipped.values())
    result.findings.append(
        Finding(
            kind="live",
            text=f"{found.matched} of {found.lockstep} FULL messages of the same frames "
            f"({found.matched_share:.0%}), {found.objects_share:.1%} of their {found.objects} "
            f"objects the same; {dropped} frames dropped"
            + (f", {skipped} skipped by load control" if skipped else ""),
            failed=not good and mode == STRICT,
        )
    )
