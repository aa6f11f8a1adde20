"""Swaps whole sets of models at full frame rate and proves from the messages that none suffers.

Two releases are made of the bundled set by changing all weights by a hundredth of a percent, which
gives other digests and other feature spaces. They are signed, installed and then swapped to and fro
while a camera at 20 Hz, a LiDAR at 10 Hz and a microphone play; once with all nodes in one process
and once with each in its own. Shadow and canary are left out: each change commits at once.

With `--busy` other programs run on the cores meanwhile. Frames that are lost because the machine is
slow are then counted apart from those that a change costs: see `_swap_loss`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError

NAME = "swap"
HELP = "swap sets of models at full rate: lost, doubled, mixed, gaps, latency, memory"
CYCLE_S = 0.1
NODES = ("camera_encoder", "lidar_encoder", "audio_encoder", "fusion", "model_manager")
VERSIONS = ("90.0.0", "90.1.0")
_STEADY_S, _STEADY_QUICK_S = 6.0, 1.9  # before the first and after the last swap
# Where frames are lost without a change too, the baseline is taken between the changes: what else
# runs on the machine changes from second to second.
_PAUSE_BUSY_S = 3.0
_SWAPS_BUSY_QUICK = 20
_SETTLE_S, _SETTLE_QUICK_S = 1.0, 0.3  # before the watch begins
_PAUSE_S, _PAUSE_QUICK_S = 0.25, 0.02  # between two swaps
_SWAPS_QUICK = 40
_ROLLBACKS = 10  # after the swaps
_ROLLBACKS_QUICK = 1
_STORED = 50  # releases of the store whose opening is timed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--swaps", type=int, default=500, help="of each set-up (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="40 swaps in all")
    parser.add_argument(
        "--setups", default="composed,separate", help="composed, separate or both (%(default)s)"
    )
    parser.add_argument(
        "--busy",
        type=int,
        nargs="?",
        const=1,
        default=0,
        metavar="LOOPS",
        help="so many busy loops beside (1 where no number is given; default none)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all figures")


def run(args: argparse.Namespace) -> int:
    """Run, print the summary and save it; 1 where a bound is not met."""
    from edge_perception.bench._swap_check import worst

    setups = [name for name in args.setups.split(",") if name]
    if not setups or any(name not in ("composed", "separate") for name in setups):
        raise ConfigurationError(f"--setups: expected composed or separate, got '{args.setups}'")
    quick = _SWAPS_BUSY_QUICK if args.busy else _SWAPS_QUICK
    swaps = quick // len(setups) if args.quick else args.swaps
    parts = {}
    with tempfile.TemporaryDirectory(prefix="bench_swap_") as folder:
        releases = _make(Path(folder))
        opening_ms = _store_open_ms(Path(folder))
        for name in setups:
            parts[name] = _measure(
                name == "composed",
                swaps,
                Path(folder) / name,
                releases,
                quick=args.quick,
                busy=args.busy,
            )
            print(f"{name}: {json.dumps(parts[name])}", flush=True)
    summary = {**worst(list(parts.values())), f"store_of_{_STORED}_ms": opening_ms}
    for key, value in summary.items():
        print(f"{key:24} {value}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        data = {
            "summary": summary,
            "busy": args.busy,
            "setups": parts,
            "load_average": os.getloadavg(),
        }
        args.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    lost = summary["lost_by_changes_surely"] if args.busy else summary["lost"]
    return 0 if not lost and summary["doubled"] == summary["mixed"] == 0 else 1


def _store_open_ms(folder: Path) -> float:
    from edge_perception.bench._store_time import make_store, store_open_ms
    from edge_perception.core.share import share_file

    source = share_file("models/bev_lite/lidar")
    return store_open_ms(make_store(folder, source, releases=_STORED))


def _make(folder: Path) -> dict[str, Any]:
    """Make and sign two releases of the bundled set."""
    from edge_perception.bench._signer import Signer
    from edge_perception.core.share import share_file
    from edge_perception.releases.repacking import repack_set

    signer = Signer(folder)
    archives = []
    set_of = {}
    for number, version in enumerate(VERSIONS):  # of one release number: neither is a downgrade
        made = repack_set(
            share_file("models/bev_lite"),
            folder / "made" / version,
            version=version,
            release=1000,
            scale=1.0 + 1e-4 * (number + 1),
        )
        for bundle in made.values():
            archives.append(signer.archive(bundle))
            set_of[bundle.sha256] = number
    return {"trust": signer.trust, "archives": archives, "set_of": set_of}


def _measure(
    composed: bool,
    swaps: int,
    folder: Path,
    releases: dict[str, Any],
    *,
    quick: bool,
    busy: int,
) -> dict[str, Any]:
    from edge_perception.bench._busy import BusyLoops
    from edge_perception.bench._machine_watch import MachineWatch
    from edge_perception.bench._swap_check import RunSeen, summarise
    from edge_perception.bench._swap_loss import count_losses
    from edge_perception.bench._swap_rig import SwapRig
    from edge_perception.releases.store import ReleaseStore
    from edge_perception.running.processes import NodeProcesses

    folder.mkdir()
    store = ReleaseStore(folder.parent / "store")  # one for all set-ups
    for archive in releases["archives"]:
        store.install(archive, releases["trust"], now_ns=time.time_ns())
    _admit(store, releases["set_of"])
    parameters = _parameters(folder, folder.parent)
    domain_id = 100 + os.getpid() % 100
    environment = _environment(domain_id)
    os.environ.update(environment)
    seen = RunSeen(set_of=releases["set_of"])
    processes = NodeProcesses(
        _commands(composed, parameters),
        environment={**os.environ, **environment},
        log_folder=folder / "logs",
    )
    steady_s = _STEADY_QUICK_S if quick else _STEADY_S
    pause_s = _PAUSE_QUICK_S if quick else _PAUSE_S
    pause_s = _PAUSE_BUSY_S if busy else pause_s
    with processes, SwapRig(domain_id=domain_id, run=seen) as rig, BusyLoops() as beside:
        rig.wait(rig.connected, "nodes and topics", 40.0)
        rig.play()
        rig.wait(lambda: rig.latest is not None and rig.latest.mode == 3, "a full view", 20.0)
        rig.wait_for_models(len(NODES) - 1, 20.0)
        first = seen.set_of.get(_digest(rig), 0)
        _swap(rig, 1 - first)  # leaves the factory's
        _swap(rig, first)
        rig.connect_rollback()
        beside.start(busy)
        time.sleep(_SETTLE_QUICK_S if quick else _SETTLE_S)
        memory = _sampler(processes.pids)
        machine = MachineWatch([os.getpid(), *processes.pids.values()])
        seen.used = machine.seen
        with machine, rig.watch():
            _sleep(processes, steady_s)
            seen.memory_bytes.append(memory())
            for count in range(swaps):
                processes.check()
                seen.swaps.append(_swap(rig, (first + count + 1) % 2))
                time.sleep(pause_s)
                if count % 50 == 49:
                    seen.memory_bytes.append(memory())
                    print(f"  {count + 1} swaps", flush=True)
            for _ in range(_ROLLBACKS_QUICK if quick else _ROLLBACKS):
                time.sleep(_PAUSE_S)
                seen.swaps.append(_roll_back(rig))
            _sleep(processes, steady_s)
            seen.memory_bytes.append(memory())
    return {**summarise(seen, cycle_s=CYCLE_S), **count_losses(seen)}


def _admit(store: Any, digests: Iterable[str]) -> None:
    """Try every release once, before the nodes run: what was admitted is not tried again."""
    from concurrent.futures import ThreadPoolExecutor

    from edge_perception.models.loading import ModelOptions
    from edge_perception.releases.admission import AdmissionLimits
    from edge_perception.releases.measured import admit_once

    limits = AdmissionLimits(latency_factor=100.0)
    options = ModelOptions(model="")  # the nodes have the defaults

    def work(sha256: str) -> None:
        admit_once(store.release(sha256).bundle, limits, options, store.notes)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, digests))


def _swap(rig: Any, number: int) -> Any:
    version = VERSIONS[number]
    return _change(rig, lambda: rig.swap("bev_lite_lidar", version), f"swap to {version}")


def _roll_back(rig: Any) -> Any:
    return _change(rig, rig.roll_back, "rollback", back=True)


def _change(rig: Any, ask: Callable[[], Any], what: str, *, back: bool = False) -> Any:
    """Ask for a change, and return it once its stamp has passed."""
    from edge_perception.bench._swap_check import SwapSeen
    from edge_perception.bench._swap_rig import RigError

    before, requested_ns = len(rig.commits), time.time_ns()
    answer = ask()
    if not answer.success:
        raise RigError(f"{what}: {answer.reason}")
    rig.wait(lambda: len(rig.commits) > before, "the event of the commit", 5.0)
    stamp_ns = list(rig.commits.values())[-1]
    rig.wait(lambda: time.time_ns() > stamp_ns, "the stamp of the change", 5.0)
    return SwapSeen(
        requested_ns=requested_ns, stamp_ns=stamp_ns, answered_ns=time.time_ns(), back=back
    )


def _digest(rig: Any) -> str:
    return next(m.sha256 for m in rig.latest.models if m.role == "lidar")


def _sleep(processes: Any, seconds: float) -> None:
    time.sleep(seconds)
    processes.check()


def _sampler(pids: dict[str, int]) -> Callable[[], int]:
    import psutil

    members = [psutil.Process(pid) for pid in pids.values()]
    return lambda: sum(process.memory_info().rss for process in members)


def _parameters(folder: Path, shared: Path) -> Path:
    import yaml

    store = {"model_store": str(shared / "store"), "trust_file": str(shared / "trust.json")}
    nodes: dict[str, dict[str, Any]] = {name: dict(store) for name in NODES}
    nodes["model_manager"] |= {
        "admission_latency_factor": 100.0,
    }
    path = folder / "parameters.yaml"
    data = {f"/**/{name}": {"ros__parameters": values} for name, values in nodes.items()}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def _environment(domain_id: int) -> dict[str, str]:
    from edge_perception.running.transport import transport_environment

    return {
        **transport_environment(dict(os.environ)),
        "ROS_DOMAIN_ID": str(domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "OMP_NUM_THREADS": "1",
    }


def _commands(composed: bool, parameters: Path) -> dict[str, list[str]]:
    from ament_index_python.packages import get_package_prefix

    folder = Path(get_package_prefix("edge_perception")) / "lib" / "edge_perception"
    names = ("perception",) if composed else NODES
    arguments = ["--ros-args", "--params-file", str(parameters)]
    return {name: [str(folder / name), *arguments] for name in names}
