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
    log_burst: int = parameter(
        5,
        "lines of the log that differ only in numbers and are written in a window; those beyond "
        "are counted, and the count is written when it ends; 0: no limit",
        low=0,
        high=1000,
        dynamic=True,
    )
    log_window_s: float = parameter(
        10.0, "length of that window", unit="s", low=0.1, high=3600.0, dynamic=True
    )
    log_details_s: float = parameter(
        10.0,
        "how long the level is DEBUG after an anomaly (a source or a node that leaves OK, a missed "
        "deadline, many refused frames, a model change that failed); 0: never",
        unit="s",
        low=0.0,
        high=600.0,
        dynamic=True,
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
class TracesNodeOptions:
    """Which fused views go to a collector of OpenTelemetry."""

    endpoint: str = parameter(
        "http://127.0.0.1:4318/v1/traces", "URL of the collector's traces, OTLP over HTTP"
    )
    slow_ms: float = parameter(
        0.0,
        "views are sent whose end-to-end latency is above this; 0: none for this reason. Those "
        "that missed their deadline or are not valid always are",
        unit="ms",
        low=0.0,
        high=60000.0,
        dynamic=True,
    )
    share: float = parameter(
        0.02, "share of all other views that are sent", low=0.0, high=1.0, dynamic=True
    )
    vehicle: str = parameter("", "name of the vehicle in traces; empty: its host name")


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
        "",
        "what the operator asks of the output, YAML; empty: as config/slo.yaml",
        read_only=True,
    )
