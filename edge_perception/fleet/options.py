"""Parameters of a robot in a fleet; all of it is off until they name a registry or a broker."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.fleet.documents import ANY_DEVICE
from edge_perception.fleet.schedule import parse_quiet_hours

_NAME = re.compile(r"[^/+#,\s\x00-\x1f]{1,200}")


@dataclass(frozen=True, kw_only=True)
class FleetOptions:
    """What the model manager does for a fleet."""

    registry: str = parameter(
        "", "folder or URL of the registry (file, http, https, s3, gs, az); empty: none is asked"
    )
    root_file: str = parameter("", "first root of the registry, of `edge-perception registry init`")
    team: str = parameter("perception", "whose releases are taken")
    channel: str = parameter("stable", "which of them", choices=("dev", "beta", "stable"))
    device_id: str = parameter("", "name of this robot in its fleet; empty: the machine's id")
    device_class: str = parameter(ANY_DEVICE, "kind of hardware, as variants of releases name it")
    groups: tuple[str, ...] = parameter((), "groups of this robot, for rollouts")
    poll_period_s: float = parameter(
        600.0, "between questions to the registry, give or take a fifth", unit="s", low=1, high=1e6
    )
    quiet_hours: str = parameter(
        "",
        "time of the day, UTC, in which no release is fetched or changed to, such as 22:00-06:00",
    )
    most_kb_s: int = parameter(
        0, "fetched per second on average; 0: as fast as it comes", unit="kB/s", low=0, high=10**7
    )
    keep_free_mb: int = parameter(
        512, "free space that must be left on the disk of the store", unit="MB", low=0, high=2**20
    )
    offline_warn_days: float = parameter(
        7.0, "without the registry for longer, diagnostics warn", unit="days", low=0.01, high=3650
    )
    broker: str = parameter(
        "", "mqtts://HOST:PORT or mqtt://HOST:PORT for telemetry; empty: none is sent"
    )
    broker_ca: str = parameter("", "certificates that the broker's is checked with, PEM")
    broker_cert: str = parameter("", "certificate of this robot, PEM")
    broker_key: str = parameter("", "its private key, PEM")
    telemetry_period_s: float = parameter(
        10.0, "between readings of what is measured", unit="s", low=0.1, high=3600.0
    )
    spool_mb: int = parameter(
        64, "telemetry kept on disk while it cannot be sent", unit="MB", low=1, high=10**5
    )
    samples_from: str = parameter(
        "", "folder of `edge-perception record` whose files are uploaded; empty: none are"
    )
    samples_to: str = parameter(
        "",
        "storage for them: a folder or URL (file, s3, gs, az), its credentials in the environment",
    )
    samples_mb_day: int = parameter(
        500, "uploaded in a day (UTC) at most; 0: all there is", unit="MB", low=0, high=10**6
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        parse_quiet_hours(self.quiet_hours)
        for name, text in (
            ("device_id", self.device_id),
            ("device_class", self.device_class),
            *(("groups", group) for group in self.groups),
        ):
            if text and not _NAME.fullmatch(text):
                raise ConfigurationError(
                    f"fleet_{name}: expected a name without spaces, commas, '/', '+' and '#', got "
                    f"'{text[:80]}': it is part of a topic of the broker, or of a list"
                )
        if self.registry and not self.root_file:
            raise ConfigurationError(
                "fleet_root_file: expected the first root of the registry, got nothing"
            )
        if bool(self.samples_from) != bool(self.samples_to):
            missing = "samples_to" if self.samples_from else "samples_from"
            raise ConfigurationError(
                f"fleet_{missing}: expected a folder or storage beside the other, got nothing"
            )
