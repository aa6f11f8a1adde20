"""Parameters of every node of the package."""

from __future__ import annotations

from dataclasses import dataclass

from edge_perception.core.parameter import parameter


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """Parameters of every node."""

    autostart: bool = parameter(
        True, "configure and activate at start, without a manager", read_only=True
    )
    bond_period_s: float = parameter(
        0.0,
        "between heartbeats of a bond, for lifecycle managers that want one (nav2: bond_timeout "
        "above 0), while the node is active; 0: no bond",
        unit="s",
        low=0.0,
        high=10.0,
        read_only=True,
    )
    other_nodes: tuple[str, ...] = parameter(
        (),
        "nodes of other packages, such as velodyne or nav2_*, that have sections in the same "
        "parameter file; a section of any other unknown node is refused",
    )
    plugin_folders: tuple[str, ...] = parameter(
        (),
        "folders with extensions of your own: encoders/, backends/ and adapters/ laid out as in "
        "this package; their code runs in the node",
        read_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class EncoderNodeOptions:
    """Which encoder a node is."""

    modality: str = parameter(
        "",
        "kind of sensor, a folder of encoders; empty: what the node's name begins with",
        read_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class ResourcesNodeOptions:
    """How the machine is read."""

    period_s: float = parameter(2.0, "between samples", unit="s", low=0.2, high=60.0)
    battery_topic: str = parameter(
        "", "sensor_msgs/BatteryState of the vehicle; empty: batteries as the kernel tells them"
    )


@dataclass(frozen=True, kw_only=True)
class MetricsNodeOptions:
    """Where the metrics are served."""

    address: str = parameter(
        "127.0.0.1",
        "IP address that Prometheus asks; there is no password, so any other than loopback is open "
        "to whoever reaches it",
    )
    port: int = parameter(
        9464, "TCP port of the metrics; 0: any that is free, told in diagnostics", low=0, high=65535
    )
    slo_file: str = parameter(
        "", "what the operator asks of the output, YAML; empty: as config/slo.yaml"
    )
