"""The picture of a running system, as JSON and as a screen."""

from __future__ import annotations

import json
from types import SimpleNamespace

from pipeline_messages import S, source, view

from edge_perception.core.types import Mode, SourceState
from edge_perception.observe.top.gather import Gather
from edge_perception.observe.top.screen import lines_of


def gathered(**changed):
    gather = Gather()
    stamps = (SimpleNamespace(sec=5, nanosec=n) for n in range(3))
    for number, stamp in enumerate(stamps):
        sources = [
            source(stamp=stamp, reason="", given_up="variant small"),
            source("lidar", stamp=stamp, state=SourceState.STALE.value, given_up="",
                   contributed=False, reason="age 1.20 s > 0.50 s", age_s=float("nan")),
        ]  # fmt: skip
        gather.on_view(
            view(number, sources=sources, mode=Mode.DEGRADED.value, reason="", sound_events=[],
                 safe_stop_reason="", **changed),
            S + number * S // 10,
        )  # fmt: skip
    gather.on_status("fusion", 1, "lidar: STALE", {}, S)
    load = {"drift": "not known: no reference", "load_step": "1 of 2: variant small"}
    gather.on_status("camera_encoder", 0, "10.0 Hz", load, S)
    told = {"cpu_share": "0.25", "node_cpu_cores fusion": "0.31", "node_pss_bytes fusion": "9e7",
            "throttling": "Processor held back, step 2 of 10",
            "watts": "not available, because there is no sensor"}  # fmt: skip
    gather.on_status("resources", 0, "", told, S)
    return gather


def test_the_picture_is_strict_json_and_what_is_not_known_is_null():
    picture = json.loads(json.dumps(gathered().picture(S + S // 4), allow_nan=False))
    assert picture["fused"]["mode"] == "DEGRADED"
    assert picture["fused"]["speed_advice_mps"] is None
    camera, lidar = picture["sources"]
    assert camera["stages_ms"]["inference"] == {"p50": 4.0, "p95": 4.0}
    assert lidar["stages_ms"]["inference"] == {"p50": None, "p95": None}, "it contributed nothing"
    assert lidar["age_ms"] is None
    nodes = {node["name"]: node for node in picture["nodes"]}
    assert nodes["fusion"]["cpu_cores"] == 0.31
    assert nodes["camera_encoder"]["pss_mb"] is None
    assert picture["drift"] == {"camera": "not known: no reference"}


def test_what_is_old_is_not_shown_as_of_now():
    picture = gathered().picture(9 * S)
    assert picture["fused"] is None
    assert picture["silence_s"] > 7
    assert picture["sources"] == []
    assert picture["resources"] is None
    assert {node["level"] for node in picture["nodes"]} == {"STALE"}
    assert lines_of(picture, width=80, color=False)[0].startswith("no fused view: none for 7.")
    assert "none came yet" in lines_of(Gather().picture(S), width=80, color=False)[0]


def test_the_screen_fits_and_says_what_is_wrong():
    picture = gathered(safe_stop=True, speed_advice_mps=8.0).picture(S + S // 4)
    for color in (False, True):
        lines = lines_of(picture, width=80, color=color)
        plain = [strip(line) for line in lines]
        assert max(map(len, plain)) <= 80
        text = "\n".join(plain)
        for said in ("DEGRADED  valid", "speed advice: at most 8 m/s", "age 1.20 s > 0.50 s",
                     "variant small", "throttling  Processor held back", "processor 25 % busy",
                     "watts: not available, because there is no sensor", "SAFE STOP"):  # fmt: skip
            assert said in text, said
        assert ("\x1b" in "".join(lines)) == color


def strip(line: str) -> str:
    while "\x1b" in line:
        start = line.index("\x1b")
        line = line[:start] + line[line.index("m", start) + 1 :]
    return line
