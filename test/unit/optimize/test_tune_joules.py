"""Energy is read around what runs, and where it is not known the reader says why."""

import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.monitoring.resources.reading import Missing, Reading
from edge_perception.optimize import measuring, tune
from edge_perception.optimize.configuration import Configuration
from edge_perception.optimize.joules import Energy, EnergyMeter
from edge_perception.optimize.measuring import compare
from edge_perception.optimize.plan import as_json, page, plan_of
from edge_perception.optimize.tune import Tuner

NO_GPU = SimpleNamespace(sample=lambda: ([], [Missing(what="GPU", why="there is none")], []))


@pytest.fixture
def rapl(tmp_path):
    """A package of RAPL; what is called adds so many joules."""
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0")
    (zone / "max_energy_range_uj").write_text(str(10**12))
    (zone / "energy_uj").write_text("1000000")

    def add(joules):
        counter = zone / "energy_uj"
        (zone / "next").write_text(str(int(counter.read_text()) + round(joules * 1e6)))
        (zone / "next").replace(counter)  # a reader never sees half of it

    return SimpleNamespace(root=tmp_path, zone=zone, add=add)


def test_what_a_counter_counts_while_something_runs_is_its_energy(rapl):
    rapl.add(50.0)  # before

    def work():
        rapl.add(0.03)
        time.sleep(0.02)  # what draws more than a machine can is not believed
        return "done"

    result, energy = EnergyMeter(rapl.root, NO_GPU).measure(work)
    assert result == "done"
    assert energy.joules == pytest.approx(0.03)
    assert energy.of == "package-0"
    assert EnergyMeter(rapl.root, NO_GPU).why_not() == ""


def test_watts_of_a_gpu_are_added_up_over_the_time(tmp_path):
    gpu = SimpleNamespace(
        sample=lambda: ([Reading(kind="watts", name="gpu0", value=100.0)], [], [])
    )
    _, energy = EnergyMeter(tmp_path, gpu).measure(lambda: None)
    assert energy.joules == pytest.approx(100.0 * energy.seconds)
    assert energy.of == "gpu0"
    assert "neither RAPL" in energy.why_not  # what is not in it


def test_where_nothing_tells_the_reader_says_why(tmp_path, rapl):
    why = EnergyMeter(tmp_path / "empty", NO_GPU).why_not()
    assert "neither RAPL nor power sensors" in why
    assert "there is none" in why
    (rapl.zone / "energy_uj").unlink()
    (rapl.zone / "energy_uj").mkdir()
    assert "energy_uj of intel-rapl:0" in EnergyMeter(rapl.root, NO_GPU).why_not()


class Meter:
    """Gives to each thing that is measured what comes next."""

    def __init__(self, *energies):
        self._energies = list(energies)

    def measure(self, work):
        joules, seconds = self._energies.pop(0)
        return work(), Energy(joules=joules, seconds=seconds, of="package-0")


class Running:
    frames, told = None, {"audio": {"golden": []}}

    def run(self, sets, only=""):
        return {"set_ms": [100.0] * sets, "role_ms": {"audio": [100.0] * sets}}


@pytest.fixture
def way():
    return Configuration(bundle=find_bundle("bev_lite/audio", installed_model_folders()))


def test_sets_and_the_idle_machine_are_measured_in_turns(way, monkeypatch):
    monkeypatch.setattr(measuring, "Runner", lambda *_: nullcontext(Running()))
    turn = [(40.0, 1.0), (20.0, 0.5), (2.0, 0.2)]  # theirs, ours, idle: 10 W
    alone = (13.0, 0.3)
    meter = Meter(*turn, *turn, alone)
    energy = compare(Running(), {"audio": way}, rounds=2, sets=4, meter=meter).energy
    assert (energy.set_j, energy.base_set_j, energy.idle_w) == (5.0, 10.0, 10.0)
    assert energy.role_j["audio"] == pytest.approx((13.0 - 10.0 * 0.3) / 3)


def test_turns_that_tell_of_other_parts_are_not_compared(way, monkeypatch):
    monkeypatch.setattr(measuring, "Runner", lambda *_: nullcontext(Running()))
    meter = Meter((1.0, 1.0), (float("nan"), 1.0), (1.0, 1.0))
    energy = compare(Running(), {"audio": way}, rounds=1, sets=4, meter=meter).energy
    assert not energy.known


@pytest.mark.parametrize("known", [True, False])
def test_the_plan_has_joules_or_why_it_has_none(way, rapl, tmp_path, monkeypatch, known):
    monkeypatch.setattr(tune, "configurations", lambda *_, **__: [way])
    meter = EnergyMeter(rapl.root if known else tmp_path / "empty", NO_GPU)
    found = Tuner(
        {"audio": [way.bundle]}, cores=1, budget_s=60.0, allowed_loss=1.0,
        accuracy=lambda _: 60.0, say=lambda _: None, meter=meter,
    ).run()  # fmt: skip
    plan = plan_of(found, {})
    (note,) = (note for note in plan.notes if note.startswith("joules:"))
    assert note in page(found, plan)
    told = as_json(found, plan)["joules"]
    if known:
        assert plan.sources["audio"].figures.joules == 0.0  # this counter stands still
        assert "package-0" in note
        assert told["of"] == "package-0"
    else:
        assert plan.sources["audio"].figures.joules is None
        assert "neither RAPL" in note
        assert "neither RAPL" in told["why_not"]
