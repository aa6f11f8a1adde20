"""The fused output as an MCAP that Foxglove and RViz open beside the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.recordings.decoding import FieldKind, MessageDecoder
from edge_perception.recordings.stamps import NS
from edge_perception.recordings.writer import RecordingWriter, Topic

FUSED_TOPIC, MARKERS_TOPIC = "/perception/fused", "/perception/markers"
_FUSED, _MARKERS = "edge_perception/msg/FusedPerception", "visualization_msgs/msg/MarkerArray"
_MODES = {"FULL": (0.1, 0.6, 0.3), "DEGRADED": (0.9, 0.6, 0.1)}
_OTHER = (0.8, 0.2, 0.2)
_BOX, _DELETE_ALL = 1, 3
_TIME = "builtin_interfaces/msg/Time"
_XYZ = ("geometry_msgs/msg/Point", "geometry_msgs/msg/Vector3")
# Of a symmetric matrix of four rows: ten numbers of its upper part, and where all 16 find theirs.
_UPPER = range(10)
_OF_UPPER = (0, 1, 2, 3, 1, 4, 5, 6, 2, 5, 7, 8, 3, 6, 8, 9)
_UNITS = ("", "_ns", "_m", "_rad", "_mps")  # a record's names carry their units


class ResultRecorder:
    """Turns canonical records into messages."""

    def __init__(self) -> None:
        self._decoder = MessageDecoder()

    def write(self, records: Iterable[Mapping[str, Any]], path: Path) -> None:
        """Write messages and boxes to draw; the file appears whole or not at all."""
        with RecordingWriter(path, compression="zstd") as writer:
            for name, kind in ((FUSED_TOPIC, _FUSED), (MARKERS_TOPIC, _MARKERS)):
                definition = self._decoder.definition(kind)
                writer.add_topic(Topic(name=name, type=kind, definition=definition))
            for record in records:
                at_ns = record["published_ns"]
                data = self._decoder.encode(self.message(record), _FUSED)
                writer.write(FUSED_TOPIC, data, log_time_ns=at_ns)
                data = self._decoder.encode(self._markers(record), _MARKERS)
                writer.write(MARKERS_TOPIC, data, log_time_ns=at_ns)

    def message(self, record: Mapping[str, Any]) -> Any:
        """Return a record as a FusedPerception message."""
        head = {"header": {"stamp": record["stamp_ns"], "frame_id": record["frame_id"]}}
        told = {
            "objects": [_tracked(item) for item in record["objects"]],
            "sound_events": [_located(event) for event in record["sound_events"]],
        }
        return self._fill(_FUSED, {**record, **head, **told})

    def _fill(self, type_name: str, values: Any) -> Any:
        """Return a message with the fields of its definition; what is not told is zero."""
        if type_name == _TIME:
            return self._time(values if isinstance(values, int) else 0)
        if type_name in _XYZ:
            return self._xyz(type_name, values or (0.0, 0.0, 0.0))
        constants, fields = self._decoder.fields(type_name)
        told = values or {}
        filled = {}
        for name, kind in fields:
            found = (told[name + unit] for unit in _UNITS if name + unit in told)
            filled[name] = self._value(kind, next(found, None), constants)
        return self._decoder.message(type_name, **filled)

    def _value(self, kind: FieldKind, value: Any, constants: Mapping[str, Any]) -> Any:
        if kind.is_list:
            item = replace(kind, is_list=False)
            parts = [self._value(item, part, constants) for part in value or ()]
            return np.array(parts, kind.name) if kind.is_base and kind.name != "string" else parts
        if not kind.is_base:
            return self._fill(kind.name, value)
        if kind.name == "string":
            return value or ""
        if kind.name == "bool":
            return bool(value)
        if kind.name.startswith("float"):
            return _number(value)
        if isinstance(value, str):  # the name of a constant, with or without its prefix
            fits = (key for key in constants if key == value or key.endswith(f"_{value}"))
            return constants[next(fits)]
        return int(value or 0)

    def _markers(self, record: Mapping[str, Any]) -> Any:
        header = self._header(record["stamp_ns"], record["frame_id"])
        color = _MODES.get(record["mode"], _OTHER)
        boxes = [self._marker(header, 0, _DELETE_ALL, None, color)]
        for index, item in enumerate(record["objects"]):
            boxes.append(self._marker(header, index + 1, 0, item, color))
        return self._decoder.message(_MARKERS, markers=boxes)

    def _marker(
        self,
        header: Any,
        number: int,
        action: int,
        item: Mapping[str, Any] | None,
        color: tuple[float, float, float],
    ) -> Any:
        center = item["center_m"] if item else (0.0, 0.0, 0.0)
        size = item["size_m"] if item else (1.0, 1.0, 1.0)
        half = (item["yaw_rad"] if item else 0.0) / 2
        make = self._decoder.message
        orientation = make(
            "geometry_msgs/msg/Quaternion",
            x=0.0, y=0.0, z=float(np.sin(half)), w=float(np.cos(half)),
        )  # fmt: skip
        red, green, blue = color
        still = make("builtin_interfaces/msg/Duration", sec=0, nanosec=0)
        alpha = 0.25 + 0.5 * (item["score"] if item else 0.0)
        return make(
            "visualization_msgs/msg/Marker",
            header=header,
            ns="fused",
            id=number,
            type=_BOX,
            action=action,
            pose=make(
                "geometry_msgs/msg/Pose",
                position=self._xyz("geometry_msgs/msg/Point", center),
                orientation=orientation,
            ),
            scale=self._xyz("geometry_msgs/msg/Vector3", size),
            color=make("std_msgs/msg/ColorRGBA", r=red, g=green, b=blue, a=alpha),
            lifetime=still,
            frame_locked=False,
            points=[],
            colors=[],
            texture_resource="",
            texture=make(
                "sensor_msgs/msg/CompressedImage",
                header=header, format="", data=np.zeros(0, np.uint8),
            ),
            uv_coordinates=[],
            text=item["class_name"] if item else "",
            mesh_resource="",
            mesh_file=make(
                "visualization_msgs/msg/MeshFile", filename="", data=np.zeros(0, np.uint8)
            ),
            mesh_use_embedded_materials=False,
        )  # fmt: skip

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self._time(stamp_ns)
        return self._decoder.message("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)

    def _time(self, stamp_ns: int) -> Any:
        sec, nanosec = divmod(stamp_ns, NS)
        return self._decoder.message("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)

    def _xyz(self, kind: str, values: Any) -> Any:
        x, y, z = (_number(value) for value in values)
        return self._decoder.message(kind, x=x, y=y, z=z)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _tracked(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of an object, named as in its message."""
    upper = item.get("covariance") or (None,) * len(_UPPER)
    return {
        **item,
        "track_age": item.get("age_s"),
        "covariance": [upper[index] for index in _OF_UPPER],
        "emergency": bool(item.get("emergency_evidence")),
        "emergency_probability": item.get("emergency"),
    }


def _located(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of a sound, named as in its message."""
    candidates = event.get("candidates") or ()
    return {
        **event,
        "bearing_std": event.get("bearing_std_rad"),
        "other_bearings": event.get("other_bearings_rad") or (),
        "candidate_track_ids": [name for name, _ in candidates],
        "candidate_probabilities": [share for _, share in candidates],
    }
