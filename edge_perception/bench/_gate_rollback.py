"""A bad set in running nodes, committed without a trial: how soon does the watch go back?"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import yaml

from edge_perception.bench._report import say
from edge_perception.releases.slo import DRIFT, SCHEMA

_BEFORE_S = 15.0  # of views that the watch compares with, sampled every 0.2 to 0.3 s
_BURN_S = 60.0
_WINDOW_S, _EVENTS = 3.0, 30


def measure(folder: Path, rollbacks: int) -> list[dict[str, float]]:
    """Commit so many bad sets; return what each rollback took.

    Raises:
        RigError: the nodes did not start, or the watch did not go back.
    """
    from edge_perception.bench import swap
    from edge_perception.bench._swap_check import RunSeen
    from edge_perception.bench._swap_rig import SwapRig
    from edge_perception.releases.store import ReleaseStore
    from edge_perception.running.processes import NodeProcesses

    made = _make(folder, rollbacks)
    store = ReleaseStore(folder / "store")
    for archive in made["archives"]:
        store.install(archive, made["trust"], now_ns=time.time_ns())
    swap._admit(store, made["digests"])
    parameters = _parameters(folder, swap)
    domain_id = 100 + os.getpid() % 100
    environment = swap._environment(domain_id)
    os.environ.update(environment)
    seen = RunSeen(set_of={})
    processes = NodeProcesses(
        swap._commands(composed=True, parameters=parameters),
        environment={**os.environ, **environment},
        log_folder=folder / "logs",
    )
    found = []
    with processes, SwapRig(domain_id=domain_id, run=seen) as rig:
        events: list[Any] = []
        rig.watch_events(events.append)
        rig.wait(rig.connected, "nodes and topics", 60.0)
        rig.play()
        rig.wait(lambda: rig.latest is not None and rig.latest.mode == 3, "a full view", 30.0)
        rig.wait_for_models(len(swap.NODES) - 1, 30.0)
        rig.watching = True
        for version in made["versions"]:
            time.sleep(_BEFORE_S)
            found.append(_one(rig, events, seen, version))
            say(f"rolled back: {found[-1]}")
    return found


def _one(rig: Any, events: list[Any], seen: Any, version: str) -> dict[str, float]:
    from edge_perception.bench._swap_rig import RigError

    answer = rig.swap("bev_lite_lidar", version)
    if not answer.success:
        raise RigError(f"swap to {version}: {answer.reason}")
    id_ = answer.transaction_id

    def told(name: str) -> Any:
        mine = [e for e in events if e.event == name and e.transaction_id == id_]
        return mine[0] if mine else None

    rig.wait(lambda: told("rolled back") is not None, "the rollback", _BURN_S)
    decided_ns = told("burnt").stamp.sec * 10**9 + told("burnt").stamp.nanosec
    rig.wait(lambda: any(s > decided_ns for s in rig.commits.values()), "its stamp", 10.0)
    stamp_ns = max(rig.commits.values())
    rig.wait(lambda: time.time_ns() > stamp_ns + 10**8, "the stamp", 10.0)
    between = [s for s in seen.sent.get("camera", []) if decided_ns < s < stamp_ns]
    return {"frames": len(between), "ms": round((stamp_ns - decided_ns) / 1e6, 1)}


def _make(folder: Path, count: int) -> dict[str, Any]:
    """Make and sign sets that see objects everywhere, each of a feature space of its own."""
    from edge_perception.bench._bad_models import bad_bundle
    from edge_perception.bench._signer import Signer
    from edge_perception.core.share import share_file
    from edge_perception.models.manifest import load_bundle

    signer = Signer(folder)
    versions = [f"9{number}.0.0" for number in range(count)]
    archives, digests = [], []
    for version in versions:
        for role in ("camera", "lidar", "audio", "fusion"):
            space = f"bev_lite-{version}"
            changes: dict[str, Any] = {"version": version, "release": 1000, "gates": {}}
            changes |= (
                {"compatible_with": [space]} if role == "fusion" else {"feature_space": space}
            )
            source = load_bundle(share_file(f"models/bev_lite/{role}"))
            target = folder / "bad" / version / role
            bundle = bad_bundle(source, target, "everywhere", changes=changes)
            archives.append(signer.archive(bundle))
            digests.append(bundle.sha256)
    return {"trust": signer.trust, "archives": archives, "digests": digests, "versions": versions}


def _parameters(folder: Path, swap: Any) -> Path:
    """Write what the nodes need, and an SLO file whose watch decides soon."""
    slo = {
        "schema": SCHEMA,
        "objectives": [
            {
                "name": "drift",
                "indicator": DRIFT,
                "at_most": 0.5,
                "window_s": _WINDOW_S,
                "min_events": _EVENTS,
            }
        ],
        "watch": {"breaker_rollbacks": 100},
    }
    (folder / "slo.yaml").write_text(yaml.safe_dump(slo), encoding="utf-8")
    path: Path = swap._parameters(folder, folder)
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data["/**/model_manager"]["ros__parameters"] |= {
        "slo_file": str(folder / "slo.yaml"),
        "keep_releases": 1000,  # those that are yet to be committed lie in the store
    }
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path
