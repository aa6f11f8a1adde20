"""What changes together, at which stamp, and what a swap run proves."""

from dataclasses import replace

import pytest

from edge_perception.bench._swap_check import FeatureSeen, FusedSeen, RunSeen, SwapSeen, summarise
from edge_perception.core.errors import SwapError
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.manifest import Bundle
from edge_perception.releases.change_plan import plan_change
from edge_perception.releases.change_stamp import change_stamp
from edge_perception.releases.shelf import Release

MS = 1_000_000
ROLES = ("camera", "lidar", "audio", "fusion")


def manifest(role, space):
    base = find_bundle(f"bev_lite/{role}", installed_model_folders()).manifest
    if role == "fusion":
        return replace(base, compatible_with=(space,), feature_space="", version=space)
    return replace(base, feature_space=space, version=space)


def release(role, space, number=1):
    found = find_bundle(f"bev_lite/{role}", installed_model_folders())
    bundle = Bundle(
        path=found.path,
        manifest=replace(manifest(role, space), release=number),
        sha256=f"{role}-{space}-{number}",
    )
    return Release(bundle=bundle)


RUNNING = {role: manifest(role, "a") for role in ROLES}


def plan(candidate, stored=(), role="", running=RUNNING):
    found = plan_change(running=running, candidate=candidate, role=role, stored=stored)
    return {name: item.sha256 for name, item in found.items()}


def test_a_model_of_the_same_space_comes_alone():
    assert plan(release("lidar", "a", 2)) == {"lidar": "lidar-a-2"}


@pytest.mark.parametrize("asked", ROLES)
def test_another_space_brings_its_set(asked):
    stored = [release(role, "b") for role in ROLES]
    expected = {role: f"{role}-b-1" for role in ROLES}
    assert plan(release(asked, "b"), stored) == expected


def test_an_incomplete_set_is_refused():
    stored = [release(role, "b") for role in ("camera", "lidar", "audio")]
    with pytest.raises(SwapError, match="fusion model that takes it"):
        plan(release("camera", "b"), stored)


def test_without_fusion_an_encoder_changes_alone():
    running = {"camera": RUNNING["camera"], "lidar": RUNNING["lidar"]}
    assert plan(release("camera", "b"), running=running) == {"camera": "camera-b-1"}


def test_the_change_falls_between_two_groups():
    groups = [(k * 100 * MS, (k * 100 + 30) * MS) for k in range(5)]  # 30 ms wide, 10 Hz
    stamp = change_stamp(groups, earliest_ns=505 * MS, latest_ns=900 * MS)
    assert stamp == 565 * MS  # 500 to 530 is one group, 600 the next
    assert change_stamp(groups[:2], earliest_ns=7, latest_ns=9) == 7  # too little is known
    assert change_stamp(groups, earliest_ns=505 * MS, latest_ns=510 * MS) == 505 * MS


@pytest.mark.parametrize(
    ("earliest", "expected"),
    [(540, 540), (584, 584), (500, 525), (523, 525), (597, 625)],
    ids=["in a gap", "late in a gap", "start of a group", "just after a group", "before a group"],
)
def test_a_rollback_waits_for_no_middle_of_a_gap(earliest, expected):
    groups = [(base * MS, (base + 20) * MS) for base in (200, 300, 400)]
    stamp = change_stamp(groups, earliest_ns=earliest * MS, latest_ns=900 * MS, soonest=True)
    assert stamp == expected * MS


def run_of(**changes):
    """A run of 20 cycles with a change in the middle, and nothing wrong."""
    stamps = [k * 100 * MS for k in range(1, 21)]
    change = 1050 * MS
    features = [
        FeatureSeen(source="lidar", stamp_ns=s, sequence=k, sha256="ab"[s >= change], space="")
        for k, s in enumerate(stamps)
    ]
    fused = [
        FusedSeen(
            published_ns=s + 50 * MS,
            sequence=k,
            end_to_end_s=0.05,
            models=(("lidar", "ab"[s >= change], ""),),
            feature_level=True,
        )
        for k, s in enumerate(stamps)
    ]
    swaps = [SwapSeen(requested_ns=900 * MS, stamp_ns=change, answered_ns=950 * MS)]
    run = RunSeen(set_of={"a": 0, "b": 1}, sent={"lidar": stamps}, features=features, fused=fused)
    run.swaps, run.memory_bytes = swaps, [100, 102]
    for name, change_ in changes.items():
        setattr(run, name, change_(getattr(run, name)))
    return summarise(run, cycle_s=0.1)


def test_a_clean_run_is_clean():
    summary = run_of()
    assert (summary["lost"], summary["doubled"], summary["mixed"]) == (0, 0, 0)
    assert summary["longest_gap_cycles"] == 1.0
    assert summary["p99_ratio"] == 1.0
    assert summary["memory_ratio"] == 1.02


@pytest.mark.parametrize(("missing", "steady"), [(10, 1.0), (5, 2.0)])
def test_a_gap_in_a_change_is_told_from_one_without(missing, steady):
    summary = run_of(fused=lambda items: items[:missing] + items[missing + 1 :])
    assert summary["longest_gap_cycles"] == 2.0
    assert summary["longest_gap_steady_cycles"] == steady


@pytest.mark.parametrize(
    ("field", "change", "figure"),
    [
        ("features", lambda items: items[:5] + items[6:], "lost"),
        ("fused", lambda items: items[:5] + items[6:], "lost"),
        ("features", lambda items: [*items[:5], items[4], *items[5:]], "doubled"),
        ("fused", lambda items: [*items[:5], items[4], *items[5:]], "doubled"),
        (
            "features",
            lambda items: [*items[:9], replace(items[9], sha256="b"), *items[10:]],
            "mixed",
        ),
        (
            "fused",
            lambda items: [
                *items[:9],
                replace(items[9], models=(("lidar", "a", ""), ("camera", "b", ""))),
                *items[10:],
            ],
            "mixed",
        ),
    ],
)
def test_every_fault_is_seen(field, change, figure):
    assert run_of(**{field: change})[figure] > 0
