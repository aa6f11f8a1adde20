"""Readers of heat and power over trees of files as kernels have them, and broken ones."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from edge_perception.cli.main import main
from edge_perception.monitoring.resources.battery import batteries
from edge_perception.monitoring.resources.power import PowerMeter
from edge_perception.monitoring.resources.temperatures import temperatures
from edge_perception.monitoring.resources.throttling import ThrottleWatch

S = 10**9
RAPL, HWMON = "sys/class/powercap", "sys/class/hwmon"
THERMAL, SUPPLY = "sys/class/thermal", "sys/class/power_supply"
CPU = "sys/devices/system/cpu"


def plant(root: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def rapl(package: int, dram: int, core: int) -> dict[str, object]:
    zones = {"0": ("package-0", package), "0:0": ("core", core), "0:1": ("dram", dram)}
    files: dict[str, object] = {}
    for zone, (name, energy) in zones.items():
        folder = f"{RAPL}/intel-rapl:{zone}"
        files |= {
            f"{folder}/name": name,
            f"{folder}/energy_uj": energy,
            f"{folder}/max_energy_range_uj": 1_000_000_000,
        }
    return files


def test_rapl_needs_two_samples_wraps_and_counts_nothing_twice(tmp_path):
    meter = PowerMeter(tmp_path)
    plant(tmp_path, rapl(999_000_000, 10_000_000, 5))
    first = meter.sample(S)
    assert (first.rails, first.missing) == ((), ())
    assert math.isnan(first.total_w)
    plant(tmp_path, rapl(29_000_000, 16_000_000, 8_000_005))
    found = meter.sample(3 * S)
    watts = {item.name: item.value for item in found.rails}
    assert watts == pytest.approx({"package-0": 15.0, "package-0 core": 4.0, "package-0 dram": 3.0})
    assert found.total_w == pytest.approx(18.0)
    assert found.total_of == "package-0 + package-0 dram"
    plant(tmp_path, {f"{RAPL}/intel-rapl:1/name": "psys", f"{RAPL}/intel-rapl:1/energy_uj": 0})
    meter.sample(4 * S)
    plant(tmp_path, {f"{RAPL}/intel-rapl:1/energy_uj": 40_000_000})
    whole = meter.sample(5 * S)
    assert whole.total_of == "psys"
    assert whole.total_w == pytest.approx(40.0)


def ina(**changed: object) -> dict[str, object]:
    values = {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": 19_000, "curr1_input": 800,
              "in2_label": "VDD_CPU_GPU_CV", "in2_input": 19_000, "curr2_input": 200,
              "in3_label": "NC", "in3_input": 0, "curr3_input": 0, "in7_label": "sum",
              "in7_input": 5}  # fmt: skip
    return {f"{HWMON}/hwmon3/{name}": value for name, value in (values | changed).items()}


def test_ina3221_tells_rails_and_the_input_is_the_total(tmp_path):
    plant(tmp_path, ina())
    found = PowerMeter(tmp_path).sample(S)
    assert [(item.name, round(item.value, 3)) for item in found.rails] == [
        ("ina3221 VDD_IN", 15.2),
        ("ina3221 VDD_CPU_GPU_CV", 3.8),
    ]
    assert (found.total_w, found.total_of) == (pytest.approx(15.2), "ina3221 VDD_IN")
    plant(tmp_path, ina(in1_label="VDD_X"))
    other = PowerMeter(tmp_path).sample(S)
    assert math.isnan(other.total_w), "rails may feed one another: no sum is made up"
    assert len(other.rails) == 2


def test_nonsense_is_named_and_the_rest_is_told(tmp_path):
    plant(tmp_path, ina(curr2_input=-99_999))
    plant(tmp_path, {f"{HWMON}/hwmon4/name": "amdgpu", f"{HWMON}/hwmon4/power1_input": "n/a"})
    found = PowerMeter(tmp_path).sample(S)
    assert [item.name for item in found.rails] == ["ina3221 VDD_IN"]
    told = [item.text for item in found.missing]
    assert any("VDD_CPU_GPU_CV: not available, because it tells -1899.98 W" in t for t in told)
    assert any("amdgpu power1: not available" in t and "got 'n/a'" in t for t in told)


@pytest.mark.parametrize("microwatts", [-5_000_000, 10**15, "nan", "lots", "1e9", ""])
def test_watts_that_cannot_be_are_named_and_never_a_value(tmp_path, microwatts):
    sensor = {f"{HWMON}/hwmon4/name": "charger", f"{HWMON}/hwmon4/power1_input": microwatts}
    plant(tmp_path, ina() | sensor)
    meter = PowerMeter(tmp_path)
    for _ in range(2):
        found = meter.sample(S)
        assert {item.name for item in found.rails} == {"ina3221 VDD_IN", "ina3221 VDD_CPU_GPU_CV"}
        assert any("charger power1: not available, because" in m.text for m in found.missing)
        assert found.total_w == pytest.approx(15.2)


def test_a_sensor_that_vanishes_is_gone_and_one_that_comes_back_is_told_again(tmp_path):
    meter = PowerMeter(tmp_path)
    plant(tmp_path, ina() | rapl(1_000_000, 1_000_000, 1_000_000))
    meter.sample(S)
    plant(tmp_path, rapl(11_000_000, 2_000_000, 3_000_000))
    names = {item.name for item in meter.sample(2 * S).rails}
    assert {"ina3221 VDD_IN", "package-0"} <= names
    gone = tmp_path / f"{HWMON}/hwmon3/curr1_input", tmp_path / f"{RAPL}/intel-rapl:0/energy_uj"
    kept = [path.read_text() for path in gone]
    for path in gone:
        path.unlink()
    found = meter.sample(3 * S)
    names = {item.name for item in found.rails}
    assert not {"ina3221 VDD_IN", "package-0"} & names
    assert "ina3221 VDD_CPU_GPU_CV" in names
    assert any("package-0" in item.text for item in found.missing)
    for path, text in zip(gone, kept, strict=True):
        path.write_text(text)
    meter.sample(4 * S)
    plant(tmp_path, rapl(31_000_000, 3_000_000, 4_000_000))
    watts = {item.name: item.value for item in meter.sample(5 * S).rails}
    assert watts["package-0"] == pytest.approx(20.0), "since it came back, not since it went"


def test_energy_that_we_may_not_read_is_said_so(tmp_path, monkeypatch):
    plant(tmp_path, rapl(1, 1, 1))
    read = Path.read_text

    def refused(path, *args, **kwargs):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refused)
    found = PowerMeter(tmp_path).sample(S)
    assert found.rails == ()
    assert "may not be read by us" in found.missing[0].text


def test_temperatures_of_zones_and_chips(tmp_path):
    plant(
        tmp_path,
        {
            f"{THERMAL}/thermal_zone0/type": "x86_pkg_temp",
            f"{THERMAL}/thermal_zone0/temp": 54_000,
            f"{THERMAL}/thermal_zone10/type": "broken",
            f"{THERMAL}/thermal_zone10/temp": 254_000_000,
            f"{HWMON}/hwmon0/name": "coretemp",
            f"{HWMON}/hwmon0/temp1_input": 61_500,
            f"{HWMON}/hwmon0/temp1_label": "Core 0",
        },
    )
    (tmp_path / f"{THERMAL}/thermal_zone2").mkdir()
    found, missing = temperatures(tmp_path)
    assert {item.name: item.value for item in found} == {
        "x86_pkg_temp": 54.0,
        "coretemp Core 0": 61.5,
    }
    assert [item.what for item in missing] == ["temperature thermal_zone2", "temperature broken"]
    assert "254000 °C" in missing[1].why


def test_throttling_by_counters_and_cooling_devices_but_not_by_a_fan(tmp_path):
    watch = ThrottleWatch(tmp_path)
    assert "not available, because" in watch.look().text
    counter = f"{CPU}/cpu0/thermal_throttle/core_throttle_count"
    plant(
        tmp_path,
        {
            counter: 7,
            f"{CPU}/cpu0/cpufreq/scaling_cur_freq": 1_000_000,
            f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq": 2_000_000,
            f"{THERMAL}/cooling_device0/type": "pwm-fan",
            f"{THERMAL}/cooling_device0/cur_state": 3,
            f"{THERMAL}/cooling_device0/max_state": 4,
        },
    )
    first = watch.look()
    assert first.reasons == (), "what happened before us is not of now"
    assert first.frequency_share == 0.5
    plant(tmp_path, {counter: 9})
    assert watch.look().reasons == ("processor throttled by heat 2 times",)
    device = f"{THERMAL}/cooling_device1"
    plant(tmp_path, {f"{device}/type": "Processor", f"{device}/cur_state": 2,
                     f"{device}/max_state": 10})  # fmt: skip
    assert watch.look().reasons == ("Processor held back, step 2 of 10",)


def test_batteries_and_how_long_they_last(tmp_path):
    energy = {"type": "Battery", "status": "Discharging", "energy_now": 40_000_000,
              "energy_full": 50_000_000, "power_now": 20_000_000}  # fmt: skip
    charge = {"type": "Battery", "status": "Charging", "charge_now": 1_000_000,
              "charge_full": 4_000_000, "current_now": 500_000}  # fmt: skip
    broken = {"type": "Battery", "charge_now": 9_000_000, "charge_full": 4_000_000}
    mouse = {"type": "Battery", "scope": "Device", "energy_now": 1}
    mains = {"type": "Mains", "online": 1}
    for name, values in {"BAT0": energy, "BAT1": charge, "BAT2": broken, "hid": mouse,
                         "AC": mains}.items():  # fmt: skip
        plant(tmp_path, {f"{SUPPLY}/{name}/{key}": value for key, value in values.items()})
    found, missing = batteries(tmp_path)
    by_name = {item.name: item for item in found}
    assert set(by_name) == {"BAT0", "BAT1"}
    assert by_name["BAT0"].left_s == pytest.approx(7200.0)
    assert by_name["BAT1"].left_s is None
    assert by_name["BAT1"].charge_share == 0.25
    assert [item.what for item in missing] == ["battery BAT2"]


def test_a_machine_that_tells_nothing_says_so(tmp_path, capsys):
    assert main(["resources", "--root", str(tmp_path), "--seconds", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["values"]) == {"disk_bytes", "disk_free_bytes"}, "of the folder's own disk"
    lacks = {text.split(":")[0] for text in told["not_available"]}
    assert lacks == {"processor", "memory", "disk traffic", "network", "temperatures", "watts",
                     "throttling", "battery", "GPU"}  # fmt: skip
    assert all("not available, because" in text for text in told["not_available"])


def test_the_command_prints_what_there_is(tmp_path, capsys):
    plant(tmp_path, ina())
    assert main(["resources", "--root", str(tmp_path), "--seconds", "0"]) == 0
    text = capsys.readouterr().out
    assert "watts ina3221 VDD_IN" in text
    assert re.search(r"watts_are_of +ina3221 VDD_IN", text)


def test_a_root_that_is_no_folder_is_refused_and_not_a_machine_that_tells_nothing(tmp_path, capsys):
    assert main(["resources", "--root", str(tmp_path / "gone")]) == 2
    assert "--root: expected a folder" in capsys.readouterr().err
