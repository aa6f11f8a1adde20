"""A whole machine over a tree of files, GPUs through a stand-in of NVML, and what is made of it."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_perception.monitoring.resources.battery_message import battery_readings
from edge_perception.monitoring.resources.energy import Inferring, joules
from edge_perception.monitoring.resources.heat import HeatWatch
from edge_perception.monitoring.resources.nvml import Gpus
from edge_perception.monitoring.resources.processes import PROCESS, own_process, pid_here
from edge_perception.monitoring.resources.watch import Resources, ResourceWatch
from edge_perception.observe.metrics.board import Board
from edge_perception.observe.metrics.catalogue import METRICS
from edge_perception.observe.metrics.told import NAMES, Told
from edge_perception.observe.resources.findings import findings
from edge_perception.observe.resources.nodes_seen import NodesSeen

S = 10**9
NONE = Gpus(lambda _: (_ for _ in ()).throw(OSError("no such library")))
MEMINFO = "MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: 2000000 kB\n"
NET = """Inter-|   Receive | Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets
    lo: 9999 1 0 0 0 0 0 0 9999 1 0 0 0 0 0 0
  eth0: 1000 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0
"""
DISKS = "8 0 sda 1 0 100 0 1 0 50 0 0 0 0\n8 1 sda1 1 0 100 0 1 0 50 0 0 0 0\n"
PSYS = "sys/class/powercap/intel-rapl:0"


def plant(root: Path, **files: object) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def machine(root: Path, *, busy: int, idle: int, node_ticks: int, joules_used: int) -> None:
    stat = f"cpu {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 0\ncpu1 0\n"
    fields = ["S", *["0"] * 10, str(node_ticks), "0", *["0"] * 6, "77"]
    plant(root, **{
        "proc/stat": stat, "proc/meminfo": MEMINFO, "proc/net/dev": NET, "proc/diskstats": DISKS,
        "proc/42/stat": f"42 (a (b) c) {' '.join(fields)}",
        "proc/42/smaps_rollup": "00-ff ---p\nRss: 900 kB\nPss:     500 kB\n",
        f"{PSYS}/name": "psys", f"{PSYS}/energy_uj": joules_used * 1_000_000,
    })  # fmt: skip


def test_a_machine_its_nodes_and_joules_of_an_inference(tmp_path):
    watch = ResourceWatch(tmp_path, NONE)
    inferring = [Inferring(node="lidar_encoder", model="bev", rate_hz=10.0, where="CPU")]
    processes = {"lidar_encoder": 42, "fusion": 4711}
    machine(tmp_path, busy=1000, idle=1000, node_ticks=100, joules_used=0)
    first = watch.sample(S, processes, inferring)
    assert math.isnan(first.value("cpu_share"))
    assert first.value("node_pss_bytes", "lidar_encoder") == 512_000
    # 2 s later: a quarter of two cores busy, the node half a core, 40 J.
    machine(tmp_path, busy=1100, idle=1300, node_ticks=200, joules_used=40)
    found = watch.sample(3 * S, processes, inferring)
    values = found.values()
    assert found.value("cpu_share") == 0.25
    assert found.value("node_cpu_cores", "lidar_encoder") == pytest.approx(0.5)
    assert found.value("watts_total") == pytest.approx(20.0)
    # All that is busy is the node's: 20 W over 10 inferences a second.
    assert found.value("joules_per_inference", "bev") == pytest.approx(2.0)
    assert values["inferences_per_joule bev"] == "0.5"
    assert values["memory_available_bytes"] == "2048000000"
    assert values["network_bytes received"] == "1000", "without loopback"
    assert values["disk_traffic_bytes read"] == str(100 * 512), "a partition is its disk's"
    assert values["watts_are_of"] == "psys"
    assert values["GPU"].startswith("not available, because there is no driver of NVIDIA")
    assert values["memory of fusion"].startswith("not available, because")
    assert "throttling" in values


def test_a_process_number_that_was_used_again_is_not_the_node_s(tmp_path):
    watch = ResourceWatch(tmp_path, NONE)
    machine(tmp_path, busy=1, idle=1, node_ticks=900, joules_used=0)
    watch.sample(S, {"fusion": 42})
    text = (tmp_path / "proc/42/stat").read_text().replace(" 77", " 99")
    plant(tmp_path, **{"proc/42/stat": text})
    assert math.isnan(watch.sample(2 * S, {"fusion": 42}).value("node_cpu_cores", "fusion"))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"total_w": math.nan}, "watts of the whole machine are not known"),
        ({"where": "CUDAExecutionProvider"}, "runs on CUDA"),
        ({"rate_hz": 0.0}, "makes no inferences"),
        ({"cores": {}}, "processor time of a is not known"),
        ({"other": 1}, "run in the same process"),
    ],
)
def test_joules_are_told_only_where_watts_can_be_shared_out(changed, why):
    item = Inferring(node="a", model="m", rate_hz=changed.get("rate_hz", 10.0),
                     where=changed.get("where", "CPUExecutionProvider"))  # fmt: skip
    other = Inferring(node="b", model="n", rate_hz=1.0, where="CPU")
    readings, missing = joules(
        [item, other],
        {"a": 1, "b": changed.get("other", 2)},
        changed.get("cores", {1: 0.5, 2: 0.5}),
        busy_cores=1.0,
        total_w=changed.get("total_w", 10.0),
    )
    assert "m" not in {reading.name for reading in readings}
    assert any(why in lack.why for lack in missing if lack.what.endswith(" m"))


class FakeNvml:
    """Answers as NVML does, with the values that it is given; None: not supported."""

    def __init__(self, milliwatts=None, celsius=None, busy=None, reasons=0):
        self.values = {"PowerUsage": milliwatts, "Temperature": celsius}
        self.busy, self.reasons = busy, reasons
        self.nvmlErrorString = SimpleNamespace()
        self.nvmlErrorString = lambda code: b"Not Supported"

    def nvmlInit_v2(self):
        return 0

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = 1
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        return 0

    def _number(self, name, target):
        if self.values[name] is None:
            return 3
        target._obj.value = self.values[name]
        return 0

    def nvmlDeviceGetPowerUsage(self, _, target):
        return self._number("PowerUsage", target)

    def nvmlDeviceGetTemperature(self, _, sensor, target):
        return self._number("Temperature", target)

    def nvmlDeviceGetUtilizationRates(self, _, target):
        if self.busy is None:
            return 3
        target._obj.gpu = self.busy
        return 0

    def nvmlDeviceGetMemoryInfo(self, _, target):
        target._obj.total, target._obj.used = 8 * 2**30, 2**30
        return 0

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, _, target):
        assert isinstance(target._obj, ctypes.c_ulonglong)
        target._obj.value = self.reasons
        return 0


def test_a_gpu_tells_and_nonsense_of_it_is_named():
    readings, missing, held_back = Gpus(
        lambda _: FakeNvml(milliwatts=61_500, celsius=71, busy=40, reasons=0x24)
    ).sample()
    assert {(r.kind, r.value) for r in readings} == {
        ("watts", 61.5), ("temperature_c", 71), ("gpu_share", 0.4),
        ("gpu_memory_used_bytes", 2**30),
    }  # fmt: skip
    assert missing == []
    assert held_back == ["gpu0 held back by power limit and heat"]
    readings, missing, _ = Gpus(lambda _: FakeNvml(milliwatts=4_000_000_000)).sample()
    assert [r.kind for r in readings] == ["gpu_memory_used_bytes"]
    assert [(m.what, m.why) for m in missing] == [
        ("watts of gpu0", "it tells 4e+06, expected 0 to 2000"),
        ("temperature of gpu0", "Not Supported"),
        ("use of gpu0", "Not Supported"),
    ]


def battery(**changed):
    values = {"voltage": 24.0, "current": -5.0, "charge": 10.0, "percentage": 0.5,
              "power_supply_status": 2}  # fmt: skip
    return SimpleNamespace(**(values | changed))


def test_the_battery_of_the_vehicle():
    readings, missing = battery_readings(battery())
    assert {r.kind: r.value for r in readings} == pytest.approx(
        {"battery_charge_share": 0.5, "battery_watts": 120.0, "battery_left_s": 7200.0}
    )
    assert missing == []
    readings, missing = battery_readings(battery(percentage=50.0, current=-5e6))
    assert readings[0].kind == "battery_left_s"
    assert [m.what for m in missing] == ["charge of battery vehicle", "watts of battery vehicle"]
    assert "it tells 50, expected 0 to 1" in missing[0].why
    readings, missing = battery_readings(battery(current=4.0, power_supply_status=1))
    assert [r.kind for r in readings] == ["battery_charge_share"], "it charges"
    readings, missing = battery_readings(battery(charge=math.nan, percentage=math.nan))
    assert {r.kind for r in readings} == {"battery_watts"}
    assert all("its driver does not tell it" in m.why for m in missing)


def test_what_people_should_look_at(tmp_path):
    plant(tmp_path, **{"proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 40 kB\n"})
    hwmon = "sys/class/hwmon/hwmon0"
    plant(tmp_path, **{f"{hwmon}/name": "ina", f"{hwmon}/power1_input": 9 * 10**12})
    said = findings(ResourceWatch(tmp_path, NONE).sample(S))
    assert any(line.startswith("memory: 4.0% left < 5%") for line in said)
    assert any("watts of ina power1: not available, because it tells 9e+06 W" in s for s in said)
    assert not any("there is no driver" in line for line in said), "no GPU is no fault"
    assert findings(Resources(readings=(), missing=(), held_back=())) == []


def test_heat_has_hysteresis_and_silence_is_not_cool(tmp_path):
    zone = "sys/class/thermal/thermal_zone0"
    watch = HeatWatch(hottest_c=90.0, throttling=False, root=tmp_path)
    watch.look()
    assert watch.reason == ""
    assert "temperatures: not available" in watch.not_told
    plant(tmp_path, **{f"{zone}/type": "cpu", f"{zone}/temp": 92_000})
    watch.look()
    assert watch.reason == "cpu 92 °C > 90 °C"
    plant(tmp_path, **{f"{zone}/temp": 87_000})
    watch.look()
    assert "87 °C > 85 °C" in watch.reason
    plant(tmp_path, **{f"{zone}/temp": "gone"})
    watch.look()
    assert "no temperature is told any more" in watch.reason
    plant(tmp_path, **{f"{zone}/temp": 80_000})
    watch.look()
    assert watch.reason == ""


def test_nodes_say_which_process_they_are_and_others_are_not_ours():
    seen = NodesSeen("/")
    assert pid_here(own_process()) is not None
    assert pid_here("7 other-boot pid:[1]") is None
    seen.take("fusion", {PROCESS: own_process()}, S)
    seen.take("/lidar_encoder", {PROCESS: own_process(), "model": "bev", "rate_hz": "9.9",
                                 "provider": "CPU"}, S)  # fmt: skip
    seen.take("robot2/fusion", {PROCESS: own_process()}, S)
    seen.take("camera_driver", {}, S)
    assert set(seen.processes(S)) == {"fusion", "lidar_encoder"}
    assert [item.model for item in seen.inferring(S)] == ["bev"]
    assert seen.processes(9 * S) == {}, "silent nodes are not there"


def test_what_is_told_becomes_metrics_and_nothing_else_does():
    board, told = Board(METRICS), Told()
    told.on_resources(
        {"cpu_share": "0.5", "watts gpu0": "61.5", "throttling": "cpu held back",
         "temperatures": "not available, because there are none", "network_bytes sent": "7",
         "process": "1 a b", "node_pss_bytes fusion": "5"},
        S,
    )  # fmt: skip
    load = {"load_step": "2 of 3: tiny", "load_skipped": "4", "load_reused": "0",
            "model_cache_hit_rate": "nan"}  # fmt: skip
    told.on_encoder("lidar", load, S)
    told.on_encoder("camera", {"session_users": "2", "batch_frames_mean": "1.75"}, S)
    told.on_encoder("camera_rear", {"session_users": "2", "batch_frames_mean": "nan"}, S)
    told.on_encoder("audio", {"provider": "CPU"}, S)
    told.show(board, S)
    shown = {series.metric.name: series.numbers for series in board.series}
    assert shown["machine_cpu_ratio"] == {(): 0.5}
    assert shown["power_watts"] == {("gpu0",): 61.5}
    assert shown["throttled"] == {(): 1.0}
    assert shown["temperature_celsius"] == {}
    assert shown["node_memory_bytes"] == {("fusion",): 5.0}
    assert shown["load_step"] == {("lidar",): 2.0}
    assert shown["load_frames"][("lidar", "skipped")] == 4.0
    assert shown["model_cache_hit_ratio"] == {}, "nobody asked the cache yet"
    assert shown["session_users"] == {("camera",): 2.0, ("camera_rear",): 2.0}
    assert shown["batch_frames_mean"] == {("camera",): 1.75}, "the other ran none yet"
    told.show(board, 60 * S)
    shown = {series.metric.name: series.numbers for series in board.series}
    assert not shown["machine_cpu_ratio"], "what is old is not of now"
    assert not shown["session_users"]
    assert shown["load_frames"][("lidar", "skipped")] == 4.0, "a counter stays"
    assert set(NAMES) <= {metric.name for metric in METRICS}


def test_a_value_that_is_no_number_is_named_and_the_page_of_metrics_goes_on():
    board, told = Board(METRICS), Told()
    values = {"watts rail": "lots", "watts other": "7.5", "watts": "3", "cpu_share all": "0.5",
              "network_bytes sideways": "1", "memory_bytes": "nan", "note": "lots"}  # fmt: skip
    with pytest.raises(ValueError, match="watts rail: ") as refused:
        told.on_resources(values, S)
    for part in (
        "watts rail: expected a number, got 'lots'",
        "watts: expected a name",
        "cpu_share all: expected no name, got 'all'",
        "network_bytes sideways: expected one of ",
    ):
        assert part in str(refused.value)
    assert "other" not in str(refused.value)
    load = {"load_step": "1 of 2", "load_skipped": "3", "load_reused": "0",
            "model_cache_hit_rate": "0.5"}  # fmt: skip
    told.on_encoder("lidar", load, S)
    for wrong in ({"load_step": "low"}, {"load_skipped": "some"}, {"session_users": ""}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected a number, got"):
            told.on_encoder("lidar", load | wrong, S)
    with pytest.raises(ValueError, match="load_reused: expected a number, got ''"):
        told.on_encoder("camera", {"load_step": "1 of 2", "load_skipped": "3"}, S)
    told.show(board, S)
    shown = {series.metric.name: series.numbers for series in board.series}
    assert shown["power_watts"] == {("other",): 7.5}
    assert shown["machine_memory_bytes"] == shown["machine_cpu_ratio"] == {}
    assert shown["load_step"] == {("lidar",): 1.0}
