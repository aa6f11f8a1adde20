"""Parameters of the model manager."""

from __future__ import annotations

from dataclasses import dataclass

from edge_perception.core.parameter import parameter
from edge_perception.models.loading import HELD, SIGNED


@dataclass(frozen=True, kw_only=True)
class ManagerOptions:
    """What the manager may do, and how long it waits."""

    model_folders: tuple[str, ...] = parameter((), "folders searched before the installed ones")
    model_store: str = parameter("", "folder of releases; without it models cannot be changed")
    trust_file: str = parameter(
        "", "trusted keys, of `edge-perception models keygen`; empty: no change"
    )
    require_signed: str = parameter(
        "auto",
        "whether an unsigned model is refused; auto: it is where a trust file is given",
        choices=SIGNED,
    )
    device_key: str = parameter(
        "",
        "key of this device, which opens sealed models: a file or PROVIDER:WHAT; one for a process",
    )
    slo_file: str = parameter(
        "", "what the operator asks of candidates and output, YAML; empty: as config/slo.yaml"
    )
    answer_timeout_s: float = parameter(
        2.0, "wait for a node's answer", unit="s", low=0.1, high=60.0
    )
    prepare_timeout_s: float = parameter(
        30.0, "wait for a node to load a model", unit="s", low=1.0, high=600.0
    )
    commit_delay_s: float = parameter(
        0.1,
        "a new model serves frames with stamps this much later than its commit",
        unit="s",
        low=0.0,
        high=10.0,
    )
    rollback_delay_s: float = parameter(
        0.03,
        "the same for a rollback to models that are still loaded",
        unit="s",
        low=0.0,
        high=10.0,
    )
    keep_releases: int = parameter(
        4,
        "newest releases of each model that stay in the store beside those that serve or served",
        low=0,
        high=1000,
    )
    keep_free_mb: int = parameter(
        512,
        "free space on the disk of the store below which older releases of these go too",
        unit="MB",
        low=0,
        high=2**20,
    )

    @property
    def held(self) -> str:
        """Why none of these may change after the start of the process; empty: they may."""
        return HELD if self.trust_file else ""
