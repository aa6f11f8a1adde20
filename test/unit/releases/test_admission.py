"""Admission: as the node would run it, by the median and p99, with the room that there is now."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from edge_perception.core.errors import AdmissionError
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.loading import ModelOptions
from edge_perception.releases import measured
from edge_perception.releases.admission import (
    Admission,
    AdmissionLimits,
    admission_of,
    admit,
    check_admission,
    measure,
    options_of,
    way_of,
)
from edge_perception.releases.measured import admit_once, check_together
from edge_perception.releases.store import ReleaseStore

MB = 2**20
GENEROUS = AdmissionLimits(latency_factor=1000.0, latency_runs=20)
OPTIONS = ModelOptions(model="")
FINE = Admission(
    load_s=0.1,
    warm_up_s=0.1,
    latency_ms=1.0,
    latency_p99_ms=2.0,
    runs=100,
    provider="CPU",
    peak_memory_bytes=10 * MB,
)


@pytest.fixture(scope="module")
def bundle():
    return find_bundle("bev_lite/audio", installed_model_folders())


def with_objectives(bundle, **changes):
    manifest = bundle.manifest
    return replace(
        bundle, manifest=replace(manifest, objectives=replace(manifest.objectives, **changes))
    )


def test_it_runs_as_the_options_of_the_node_say(bundle):
    admission = measure(bundle, GENEROUS, ModelOptions(model="", threads=2))
    assert admission.runs >= 20
    assert 0 < admission.latency_ms <= admission.latency_p99_ms
    assert admission.provider == "CPUExecutionProvider"
    pytest.importorskip("openvino")
    other = measure(bundle, GENEROUS, ModelOptions(model="", backend="openvino"))
    assert other.provider == "CPU"
    check_admission(bundle, other, GENEROUS, free_bytes=8000 * MB)
    with pytest.raises(AdmissionError, match="its manifest says 13 MB"):
        check_admission(
            bundle,
            replace(admission, peak_memory_bytes=other.peak_memory_bytes + 40 * MB),
            GENEROUS,
            free_bytes=8000 * MB,
        )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"backend": "nothing"}, "unknown backend"),
        ({"provider": "nowhere", "strict_provider": True}, "nowhere"),
        ({"provider_options": ("x",)}, "provider.name=value"),
    ],
)
def test_what_the_node_could_not_run_is_not_admitted(bundle, options, text):
    with pytest.raises(AdmissionError, match=text):
        admit(bundle, GENEROUS, ModelOptions(model="", **options))


def test_a_manifest_that_was_replaced_meanwhile_is_not_tried(bundle):
    with pytest.raises(AdmissionError, match="the manifest was changed"):
        measure(replace(bundle, sha256="0" * 64), GENEROUS)


def test_median_and_p99_are_judged(bundle):
    limits = AdmissionLimits(latency_factor=2.0)
    gate_ms = bundle.manifest.gates.latency_ms

    def check(bundle=bundle, **changes):
        check_admission(bundle, replace(FINE, **changes), limits, free_bytes=8000 * MB)

    check(latency_ms=1.9 * gate_ms, latency_p99_ms=100 * gate_ms)
    with pytest.raises(AdmissionError, match=r"latency .* \(median of 100, p99 "):
        check(latency_ms=2.1 * gate_ms)
    hasty = with_objectives(bundle, deadline_ms=5.0)
    check(hasty, latency_p99_ms=9.9)
    with pytest.raises(AdmissionError, match=r"p99 10\.1 ms of 100 runs > 5 ms, its deadline"):
        check(hasty, latency_p99_ms=10.1)


def test_what_was_measured_before_is_judged_anew(bundle, tmp_path, monkeypatch):
    notes = ReleaseStore(tmp_path).notes
    calls = []

    def once(bundle, limits, options):
        calls.append(way_of(options))
        return FINE

    memory = SimpleNamespace(available=8000 * MB)
    monkeypatch.setattr(measured, "measure", once)
    monkeypatch.setattr(measured.psutil, "virtual_memory", lambda: memory)
    limits = AdmissionLimits()
    for _ in range(2):
        assert admit_once(bundle, limits, OPTIONS, notes) == FINE
    assert len(calls) == 1
    admit_once(bundle, limits, ModelOptions(model="", threads=4), notes)
    assert [way["threads"] for way in calls] == [1, 4]  # another way is another figure
    memory.available = limits.reserve_mb * MB + 9 * MB
    with pytest.raises(AdmissionError, match="needs 10 MB, free are 137 MB"):
        admit_once(bundle, limits, OPTIONS, notes)
    memory.available = 8000 * MB
    with pytest.raises(AdmissionError, match="latency"):
        admit_once(bundle, replace(limits, latency_factor=0.1), OPTIONS, notes)
    assert len(calls) == 2
    notes.remember(bundle.sha256, {"load_s": 1.0})  # of older software
    admit_once(bundle, limits, OPTIONS, notes)
    assert len(calls) == 3


def test_what_is_refused_is_not_remembered(bundle, tmp_path, monkeypatch):
    notes = ReleaseStore(tmp_path).notes
    slow = replace(FINE, latency_ms=1e6)
    monkeypatch.setattr(measured, "measure", lambda *_: slow)
    with pytest.raises(AdmissionError, match="latency"):
        admit_once(bundle, AdmissionLimits(), OPTIONS, notes)
    monkeypatch.setattr(measured, "measure", lambda *_: FINE)  # the machine was busy
    assert admit_once(bundle, AdmissionLimits(), OPTIONS, notes) == FINE


def test_a_set_must_fit_at_once():
    limits = AdmissionLimits(reserve_mb=128)
    models = [("camera", FINE), ("lidar", FINE)]
    check_together(models, limits, free_bytes=148 * MB)
    with pytest.raises(AdmissionError, match=r"needs 20 MB \(camera 10 MB, lidar 10 MB\)"):
        check_together(models, limits, free_bytes=147 * MB)


def test_what_a_node_says_of_itself_is_checked():
    options = ModelOptions(model="x", threads=3, provider_options=("cpu.a=b",))
    way = json.loads(json.dumps(way_of(options)))
    assert options_of(way, "n") == replace(options, model="")
    for bad in ([], {"threads": "many"}, {"model_store": "/"}, {"precision": "int3"}):
        with pytest.raises(AdmissionError, match="n"):
            options_of(bad, "n")
    assert admission_of(json.loads(json.dumps(asdict(FINE)))) == FINE
