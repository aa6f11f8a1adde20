"""The one list of metrics: the exposition, the documentation, rules and dashboards are made of it.

A gauge is left out while its value is not known: a source without a valid feature has no age, and a
fused view that is `STALE_S` old says nothing of now.
"""

from __future__ import annotations

from dataclasses import fields

from edge_perception.core.conditions import CONDITIONS
from edge_perception.core.health import Level
from edge_perception.core.types import ClosedBy, FrameLatency, FusionLevel, Mode, SourceState
from edge_perception.observe.metrics.metric import Kind, Label, Metric

STALE_S = 2.0  # a fused view that is older tells nothing of now
NODE_STALE_S = 3.0  # as config/diagnostic_aggregator.yaml: every node speaks every two seconds
STAGES = tuple(field.name.removesuffix("_s") for field in fields(FrameLatency))
FUSION_STAGES = ("wait", "fusion")
DROPS = ("overwritten", "refused", "late")
# Steps of changes as `model_events` names them, with `_` for a space and without what follows.
EVENTS = (
    "begin", "prepare", "prepared", "verified", "admitted", "shadow", "canary", "commit",
    "committed", "late", "heard_late", "done", "aborted", "recovered", "removed", "rolled_back",
    "not_rolled_back", "watch", "watched", "watch_failed", "not_watched", "burns", "burnt",
    "breaker_open", "breaker_closed", "not_noted", "not_reconciled",
    "reconciled", "not_tidied", "other",
)  # fmt: skip
BOOLEAN = ("false", "true")
TOPICS = ("fused", "model_events", "diagnostics")
# Dense where frames of 10 to 30 Hz and their deadlines lie.
BUCKETS_S = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip

_SOURCE = Label(name="source", most=16)
_NODE = Label(name="node", most=24)
_OBJECTIVE = Label(name="objective", most=32)
_QUANTITY = Label(name="quantity", most=48)
_GPU = Label(name="gpu", most=8)
_BATTERY = Label(name="battery", most=4)
# Labels with any values: what has too many of them is counted by their name.
_OPEN = (
    "source", "node", "objective", "role", "quantity", "sensor", "rail", "gpu", "battery", "model",
)  # fmt: skip


def _names(kind: type[Mode] | type[FusionLevel] | type[ClosedBy] | type[SourceState]) -> Label:
    label = {Mode: "mode", FusionLevel: "level", ClosedBy: "closed_by", SourceState: "state"}
    return Label(name=label[kind], values=tuple(item.name for item in kind))


METRICS = (
    # -- fused views --
    Metric(
        name="fused_views",
        kind=Kind.COUNTER,
        text="Fused views by mode and validity.",
        source="FusedPerception.mode, valid",
        labels=(_names(Mode), Label(name="valid", values=BOOLEAN)),
    ),
    Metric(
        name="fused_level_views",
        kind=Kind.COUNTER,
        text="Fused views by the level that their objects come from.",
        source="FusedPerception.level",
        labels=(_names(FusionLevel),),
    ),
    Metric(
        name="fused_cycles",
        kind=Kind.COUNTER,
        text="Fused views by what closed their cycle.",
        source="FusedPerception.closed_by",
        labels=(_names(ClosedBy),),
    ),
    Metric(
        name="deadline_misses",
        kind=Kind.COUNTER,
        text="Fused views published later than their deadline, as fusion counts them.",
        source="FusedPerception.deadline_missed_total",
    ),
    Metric(
        name="end_to_end_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        text="Oldest contributing acquisition stamp to publication, node clock.",
        source="FusedPerception.end_to_end_s",
        buckets=BUCKETS_S,
    ),
    Metric(
        name="fusion_stage_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        text="Stages of fusion: waiting for sources, fusing.",
        source="FusedPerception.wait_s, fusion_s",
        labels=(Label(name="stage", values=FUSION_STAGES),),
        buckets=BUCKETS_S,
    ),
    Metric(
        name="mode",
        kind=Kind.GAUGE,
        text="1 for the present mode, 0 for the others.",
        source="FusedPerception.mode",
        labels=(_names(Mode),),
    ),
    Metric(
        name="fused_valid",
        kind=Kind.GAUGE,
        text="Whether the newest fused view may be acted on.",
        source="FusedPerception.valid",
    ),
    Metric(
        name="confidence_ratio",
        kind=Kind.GAUGE,
        unit="ratio",
        text="Confidence of the newest fused view, 0 to 1.",
        source="FusedPerception.confidence",
    ),
    Metric(
        name="safe_stop",
        kind=Kind.GAUGE,
        text="Whether the degradation policy asks for a safe stop.",
        source="FusedPerception.safe_stop",
    ),
    Metric(
        name="objects",
        kind=Kind.GAUGE,
        text="Objects of the newest fused view.",
        source="FusedPerception.objects",
    ),
    Metric(
        name="fused_silence_seconds",
        kind=Kind.GAUGE,
        unit="seconds",
        text="Since the newest fused view came, or since the metrics began where none did.",
        source="arrival of FusedPerception, steady clock",
    ),
    # -- sources --
    Metric(
        name="source_state",
        kind=Kind.GAUGE,
        text="1 for the present state of a source, 0 for the others.",
        source="FusedPerception.sources[].state",
        labels=(_SOURCE, _names(SourceState)),
    ),
    Metric(
        name="source_doubtful",
        kind=Kind.GAUGE,
        text="Whether the content of a source is doubtful although it is used.",
        source="FusedPerception.sources[].warning",
        labels=(_SOURCE,),
    ),
    Metric(
        name="source_rate_hertz",
        kind=Kind.GAUGE,
        unit="hertz",
        text="Features a second over fusion's last window.",
        source="FusedPerception.sources[].rate_hz",
        labels=(_SOURCE,),
    ),
    Metric(
        name="source_age_seconds",
        kind=Kind.GAUGE,
        unit="seconds",
        text="Age of the newest valid feature at the newest fused view.",
        source="FusedPerception.sources[].age_s",
        labels=(_SOURCE,),
    ),
    Metric(
        name="source_silence_seconds",
        kind=Kind.GAUGE,
        unit="seconds",
        text="Since the last arrival at the newest fused view, steady clock.",
        source="FusedPerception.sources[].silence_s",
        labels=(_SOURCE,),
    ),
    Metric(
        name="source_clock_offset_seconds",
        kind=Kind.GAUGE,
        unit="seconds",
        text="Smallest arrival minus stamp lately: delay plus clock offset.",
        source="FusedPerception.sources[].clock_offset_s",
        labels=(_SOURCE,),
    ),
    Metric(
        name="source_features",
        kind=Kind.COUNTER,
        text="Features that fusion received.",
        source="FusedPerception.sources[].received",
        labels=(_SOURCE,),
    ),
    Metric(
        name="source_drops",
        kind=Kind.COUNTER,
        text="Frames and features that were not used: overwritten by a newer one before inference, "
        "refused as invalid, too late for their cycle.",
        source="FusedPerception.sources[].dropped, refused, late",
        labels=(_SOURCE, Label(name="reason", values=DROPS)),
    ),
    Metric(
        name="source_contributed_views",
        kind=Kind.COUNTER,
        text="Fused views that hold evidence of a source.",
        source="FusedPerception.sources[].contributed",
        labels=(_SOURCE,),
    ),
    Metric(
        name="stage_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        text="Where the time of a frame goes; each frame that was fused counts once.",
        source="FusedPerception.sources[].latency",
        labels=(_SOURCE, Label(name="stage", values=STAGES)),
        buckets=BUCKETS_S,
    ),
    # -- conditions and drift --
    Metric(
        name="condition_confidence_ratio",
        kind=Kind.GAUGE,
        unit="ratio",
        text="Confidence in a condition of the drive, 0 where it does not hold; left out where no "
        "source can tell.",
        source="FusedPerception.conditions",
        labels=(Label(name="condition", values=CONDITIONS),),
    ),
    Metric(
        name="speed_advice_meters_per_second",
        kind=Kind.GAUGE,
        unit="meters_per_second",
        text="Highest speed that the degradation policy advises for the conditions.",
        source="FusedPerception.speed_advice_mps",
    ),
    Metric(
        name="drift_known",
        kind=Kind.GAUGE,
        text="Whether drift of a source can be told; 0: its diagnostics say why not.",
        source="/diagnostics drift",
        labels=(_SOURCE,),
    ),
    Metric(
        name="drifted_quantities",
        kind=Kind.GAUGE,
        text="Quantities of a source that have drifted; left out where drift is not known.",
        source="/diagnostics drift",
        labels=(_SOURCE,),
    ),
    Metric(
        name="drift_psi",
        kind=Kind.GAUGE,
        text="Population stability index of a quantity against its reference.",
        source="/diagnostics drift.*",
        labels=(_SOURCE, _QUANTITY),
    ),
    # -- objectives --
    Metric(
        name="slo_events",
        kind=Kind.COUNTER,
        text="Fused views that an objective of the SLO file was held against.",
        source="config/slo.yaml, FusedPerception",
        labels=(_OBJECTIVE,),
    ),
    Metric(
        name="slo_good_events",
        kind=Kind.COUNTER,
        text="Those of them that were good.",
        source="config/slo.yaml, FusedPerception",
        labels=(_OBJECTIVE,),
    ),
    Metric(
        name="slo_burns",
        kind=Kind.COUNTER,
        text="Objectives that the model manager found not to hold after a change.",
        source="ModelEvent burns, burnt",
        labels=(_OBJECTIVE,),
    ),
    # -- models --
    Metric(
        name="model",
        kind=Kind.INFO,
        text="Models whose output is in the newest fused view.",
        source="FusedPerception.models",
        labels=(Label(name="role", most=17),),
        attributes=("model", "version", "sha256", "feature_space"),
    ),
    Metric(
        name="model_events",
        kind=Kind.COUNTER,
        text="Steps of model changes since the metrics began; error: refused, stopped or rolled "
        "back.",
        source="ModelEvent.event, error",
        labels=(Label(name="event", values=EVENTS), Label(name="error", values=BOOLEAN)),
    ),
    Metric(
        name="model_event_timestamp_seconds",
        kind=Kind.GAUGE,
        unit="seconds",
        text="Stamp of the newest event of a kind, since the epoch of the node clock.",
        source="ModelEvent.stamp",
        labels=(Label(name="event", values=EVENTS),),
    ),
    # -- nodes --
    Metric(
        name="node_level",
        kind=Kind.GAUGE,
        text=f"1 for the present level of a node, 0 for the others; STALE: silent for "
        f"{NODE_STALE_S:g} s.",
        source="/diagnostics level",
        labels=(_NODE, Label(name="level", values=tuple(level.name for level in Level))),
    ),
    # -- resources and load control --
    Metric(
        name="machine_cpu_ratio",
        kind=Kind.GAUGE,
        unit="ratio",
        text="Busy share of all cores.",
        source="/diagnostics resources: cpu_share",
    ),
    Metric(
        name="machine_memory_bytes",
        kind=Kind.GAUGE,
        unit="bytes",
        text="Memory of the machine.",
        source="/diagnostics resources: memory_bytes",
    ),
    Metric(
        name="machine_memory_available_bytes",
        kind=Kind.GAUGE,
        unit="bytes",
        text="Memory that programs can still get.",
        source="/diagnostics resources: memory_available_bytes",
    ),
    Metric(
        name="machine_disk_bytes",
        kind=Kind.GAUGE,
        unit="bytes",
        text="Size of the root file system.",
        source="/diagnostics resources: disk_bytes",
    ),
    Metric(
        name="machine_disk_free_bytes",
        kind=Kind.GAUGE,
        unit="bytes",
        text="What is free of it.",
        source="/diagnostics resources: disk_free_bytes",
    ),
    Metric(
        name="machine_disk_traffic_bytes",
        kind=Kind.COUNTER,
        unit="bytes",
        text="Bytes read from and written to disks since the machine started.",
        source="/diagnostics resources: disk_traffic_bytes",
        labels=(Label(name="direction", values=("read", "written")),),
    ),
    Metric(
        name="machine_network_bytes",
        kind=Kind.COUNTER,
        unit="bytes",
        text="Bytes over all interfaces but loopback since the machine started.",
        source="/diagnostics resources: network_bytes",
        labels=(Label(name="direction", values=("received", "sent")),),
    ),
    Metric(
        name="machine_frequency_ratio",
        kind=Kind.GAUGE,
        unit="ratio",
        text="Mean of the cores' frequencies to their highest.",
        source="/diagnostics resources: frequency_share",
    ),
    Metric(
        name="throttled",
        kind=Kind.GAUGE,
        text="Whether heat or a power limit holds the machine back; left out where it is not told.",
        source="/diagnostics resources: throttling",
    ),
    Metric(
        name="node_cpu_cores",
        kind=Kind.GAUGE,
        text="Cores that the process of a node keeps busy; nodes of one process say the same.",
        source="/diagnostics resources: node_cpu_cores",
        labels=(_NODE,),
    ),
    Metric(
        name="node_memory_bytes",
        kind=Kind.GAUGE,
        unit="bytes",
        text="Proportional set size of the process of a node.",
        source="/diagnostics resources: node_pss_bytes",
        labels=(_NODE,),
    ),
    Metric(
        name="temperature_celsius",
        kind=Kind.GAUGE,
        unit="celsius",
        text="Temperatures that the machine tells.",
        source="/diagnostics resources: temperature_c",
        labels=(Label(name="sensor", most=24),),
    ),
    Metric(
        name="power_watts",
        kind=Kind.GAUGE,
        unit="watts",
        text="Power of each rail that the machine tells; rails may feed one another.",
        source="/diagnostics resources: watts",
        labels=(Label(name="rail", most=16),),
    ),
    Metric(
        name="power_total_watts",
        kind=Kind.GAUGE,
        unit="watts",
        text="Power of the rails that feed all others; left out where none is known to.",
        source="/diagnostics resources: watts_total",
    ),
    Metric(
        name="gpu_use_ratio",
        kind=Kind.GAUGE,
        unit="ratio",
        text="Busy share of a GPU.",
        source="/diagnostics resources: gpu_share",
        labels=(_GPU,),
    ),
    Metric(
        name="gpu_memory_used_bytes",
        kind=Kind.GAUGE,
        unit="bytes",
        text="Memory of a GPU in use.",
        source="/diagnostics resources: gpu_memory_used_bytes",
        labels=(_GPU,),
    ),
    Metric(
        name="battery_charge_ratio",
        kind=Kind.GAUGE,
        unit="ratio",
        text="Charge of a battery.",
        source="/diagnostics resources: battery_charge_share",
        labels=(_BATTERY,),
    ),
    Metric(
        name="battery_left_seconds",
        kind=Kind.GAUGE,
        unit="seconds",
        text="How long a battery lasts at the present draw.",
        source="/diagnostics resources: battery_left_s",
        labels=(_BATTERY,),
    ),
    Metric(
        name="battery_draw_watts",
        kind=Kind.GAUGE,
        unit="watts",
        text="What is drawn from the vehicle's battery.",
        source="/diagnostics resources: battery_watts",
        labels=(_BATTERY,),
    ),
    Metric(
        name="inference_energy_joules",
        kind=Kind.GAUGE,
        unit="joules",
        text="Joules of the whole machine for one inference, shared out by processor time.",
        source="/diagnostics resources: joules_per_inference",
        labels=(Label(name="model", most=16),),
    ),
    Metric(
        name="load_step",
        kind=Kind.GAUGE,
        text="Place in the ladder of load control; 0: nothing is given up.",
        source="/diagnostics load_step",
        labels=(_SOURCE,),
    ),
    Metric(
        name="load_frames",
        kind=Kind.COUNTER,
        text="Frames that load control skipped, and those that an earlier output served for.",
        source="/diagnostics load_skipped, load_reused",
        labels=(_SOURCE, Label(name="way", values=("skipped", "reused"))),
    ),
    Metric(
        name="model_cache_hit_ratio",
        kind=Kind.GAUGE,
        unit="ratio",
        text="Share of requests for a stand-in that found its model loaded.",
        source="/diagnostics model_cache_hit_rate",
        labels=(_SOURCE,),
    ),
    Metric(
        name="session_users",
        kind=Kind.GAUGE,
        text="Sources that share the session of a source, itself included; left out where none "
        "does.",
        source="/diagnostics session_users",
        labels=(_SOURCE,),
    ),
    Metric(
        name="batch_frames_mean",
        kind=Kind.GAUGE,
        text="Frames in a run of a model that may run several together, on average since the "
        "start, without frames that ran alone because it did not pay.",
        source="/diagnostics batch_frames_mean",
        labels=(_SOURCE,),
    ),
    # -- of the metrics themselves --
    Metric(
        name="metrics_missed_views",
        kind=Kind.COUNTER,
        text="Fused views that were published and did not arrive here: what is counted lacks them.",
        source="gaps of FusedPerception.sequence",
    ),
    Metric(
        name="metrics_bad_messages",
        kind=Kind.COUNTER,
        text="Messages that could not be read.",
        source="any",
        labels=(Label(name="topic", values=TOPICS),),
    ),
    Metric(
        name="metrics_refused_values",
        kind=Kind.COUNTER,
        text="Values that were left out because their label has too many different ones.",
        source="any",
        labels=(Label(name="label", values=_OPEN),),
    ),
)
BY_NAME = {metric.name: metric for metric in METRICS}
