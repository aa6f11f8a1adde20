"""Parameters of the fall-back to servers; off until a server is named."""

from __future__ import annotations

from dataclasses import dataclass

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.core.text_options import options_of

REGIONS, PIXELATE, NONE = "regions", "pixelate", "none"
FRAME, CROPS = "frame", "crops"
AUTO, TRUE, FALSE = "auto", "true", "false"


@dataclass(frozen=True, kw_only=True)
class CloudOptions:
    """Which frames leave the robot, to whom, and what of them is hidden."""

    tiers: tuple[str, ...] = parameter(
        (),
        "servers of the Open Inference Protocol in the order to ask them, each `NAME URL "
        "option=value …` with bundle, model, version, mb_per_hour, deadline_ms, gzip, failures, "
        "open_s; "
        "the next one is asked where one does not answer or is in doubt itself; empty: no frame "
        "leaves the robot",
        example='["site http://10.0.0.5:8000 mb_per_hour=2000 deadline_ms=150"]',
    )
    doubt_bits: float = parameter(
        0.7,
        "a frame is sent whose decisions have at least this mean entropy; `edge-perception fleet "
        "threshold` finds it",
        unit="bit",
        low=0.0,
        high=1.0,
        dynamic=True,
        stricter="higher",
    )
    most_age_s: float = parameter(
        1.0,
        "an older frame is not sent, and an answer to an older one is dropped",
        unit="s",
        low=0.01,
        high=60.0,
    )
    send: str = parameter(
        FRAME,
        "what of a doubtful frame leaves: frame: all of it; crops: what is in doubt, and of images "
        "the rest in coarse cells, which costs next to nothing where the question is compressed",
        choices=(FRAME, CROPS),
    )
    crop_margin: float = parameter(
        1.0, "by which share of its size a crop is larger on each side", low=0.0, high=10.0
    )
    crop_context_px: int = parameter(
        32, "cells of what is around crops; 0: grey", unit="px", low=0, high=512
    )
    privacy: str = parameter(
        REGIONS,
        "what is hidden before a frame leaves: regions: privacy_classes and privacy_regions; "
        "pixelate: the whole image, in cells of privacy_cell_px; none: nothing",
        choices=(REGIONS, PIXELATE, NONE),
    )
    privacy_classes: tuple[str, ...] = parameter(
        (),
        "classes whose boxes are hidden, as the robot's own model sees them; CLASS:top:0.3 and "
        "CLASS:bottom:0.4 hide that share of the box, such as heads and number plates",
        example='["pedestrian:top:0.3"]',
    )
    privacy_regions: tuple[float, ...] = parameter(
        (),
        "regions that are always hidden: x_min, y_min, x_max, y_max each, in shares of the image",
        example="[0.0, 0.8, 1.0, 1.0]",
    )
    privacy_margin: float = parameter(
        0.15, "by which share of its size a box grows on each side", low=0.0, high=1.0
    )
    privacy_cells: int = parameter(
        4, "cells that the longer side of a hidden region keeps; 0: grey", low=0, high=64
    )
    privacy_cell_px: int = parameter(8, "least size of a cell", unit="px", low=4, high=512)
    cache_s: float = parameter(
        10.0,
        "for so long an answer serves for frames that hardly differ; 0: each is asked for",
        unit="s",
        low=0.0,
        high=600.0,
    )
    cache_entries: int = parameter(64, "answers kept, the newest used", low=1, high=10000)
    cache_bits: int = parameter(
        6, "of 128 bits of the perceptual hash, how many may differ", low=0, high=128
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.tiers:
            return
        tiers = parsed_tiers(self.tiers)
        if self.send == CROPS:
            _check_crops(self.privacy, tiers)
        hides = self.privacy_classes or self.privacy_regions
        if self.privacy == REGIONS and not hides:
            raise ConfigurationError(
                "cloud.privacy: regions hides privacy_classes and privacy_regions, and both are "
                f"empty; name some, or say '{PIXELATE}', or '{NONE}' to send images as they are"
            )
        if hides and self.privacy != REGIONS:
            raise ConfigurationError(
                f"cloud.privacy: expected '{REGIONS}' beside privacy_classes or privacy_regions, "
                f"got '{self.privacy}'"
            )


def _check_crops(privacy: str, tiers: tuple[TierOptions, ...]) -> None:
    """Refuse what would make crops as large, or as coarse, as the rest."""
    if privacy == PIXELATE:
        raise ConfigurationError(
            f"cloud.send: '{CROPS}' are sharp, and cloud.privacy '{PIXELATE}' leaves nothing sharp"
        )
    for tier in tiers:
        if tier.gzip == FALSE:
            raise ConfigurationError(
                f"cloud.send: '{CROPS}' are no smaller than frames without compression: expected "
                f"a server that takes gzip, got gzip=false of {tier.name}"
            )


@dataclass(frozen=True, kw_only=True)
class TierOptions:
    """One server."""

    name: str
    url: str
    bundle: str = parameter(
        "", "that it serves, installed here too; empty: the one that serves here"
    )
    model: str = parameter("", "its name on the server; empty: the bundle's")
    version: str = parameter("", "its version on the server; empty: the newest")
    mb_per_hour: float = parameter(
        100.0, "sent and received in any hour", unit="MB", low=0.001, high=1e6
    )
    deadline_ms: float = parameter(
        300.0, "longest time for one question", unit="ms", low=1.0, high=60000.0
    )
    gzip: str = parameter(
        AUTO,
        "questions and answers compressed (Triton and `models serve` take that; answers over gRPC "
        "as the server likes); auto: where crops are sent",
        choices=(AUTO, TRUE, FALSE),
    )
    failures: int = parameter(3, "failures in a row that open the breaker", low=1, high=1000)
    open_s: float = parameter(
        5.0, "first pause of an open breaker", unit="s", low=0.01, high=3600.0
    )


def parsed_tiers(texts: tuple[str, ...]) -> tuple[TierOptions, ...]:
    """Read the servers.

    Raises:
        ConfigurationError: one is not written as `NAME URL option=value …`, or named twice.
    """
    tiers = tuple(_tier(text) for text in texts)
    names = [tier.name for tier in tiers]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"cloud.tiers: '{name}' is there twice")
    return tiers


def _tier(text: str) -> TierOptions:
    parts = text.split()
    named = len(parts) >= 2 and "://" in parts[1] and "://" not in parts[0]
    if not named or any("=" not in part for part in parts[2:]):
        raise ConfigurationError(
            f"cloud.tiers: expected 'NAME URL option=value …' such as 'site http://10.0.0.5:8000 "
            f"deadline_ms=150', got '{text}'"
        )
    values = dict(part.split("=", 1) for part in parts[2:])
    return options_of(
        TierOptions,
        values,
        f"cloud.tiers: {parts[0]}",
        error=ConfigurationError,
        name=parts[0],
        url=parts[1],
    )
