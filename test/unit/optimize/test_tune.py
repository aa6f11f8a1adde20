"""Tuning on real sessions of the smallest model, with accuracies that the tests choose."""

import json
import os
import resource
import shutil
import time
from contextlib import ExitStack
from dataclasses import replace

import pytest

from edge_perception.cli.main import main
from edge_perception.core.errors import BackendError, ConfigurationError
from edge_perception.models.device_plan import read_device_plan, write_device_plan
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.optimize import tune
from edge_perception.optimize.configuration import Configuration, configurations
from edge_perception.optimize.measuring import Comparison, Runner, alone, compare
from edge_perception.optimize.plan import as_json, page, plan_of
from edge_perception.optimize.tune import FASTER, TOGETHER, Tuner
from edge_perception.optimize.variants import variants_of_set


@pytest.fixture(scope="module")
def audio():
    return find_bundle("bev_lite/audio", installed_model_folders())


def test_the_plain_way_comes_first(audio):
    first, *rest = configurations([audio], cores=4)
    assert first == Configuration(bundle=audio)
    assert {way.threads for way in [first, *rest]} == {1, 2, 4}


def test_a_set_runs_in_a_process_of_its_own(audio):
    with Runner({"audio": Configuration(bundle=audio)}) as runner:
        times = runner.run(3)
    assert len(times["set_ms"]) == len(times["role_ms"]["audio"]) == 3
    assert runner.told["audio"]["golden"] == []
    assert runner.told["audio"]["memory_mb"] > 0


def test_a_way_that_does_not_run_says_why_and_those_after_it_run(audio):
    ways = [
        Configuration(bundle=audio, provider="tensorrt"),
        Configuration(bundle=audio, backend="no_such_runtime"),
        Configuration(bundle=audio),
    ]
    found = [told for _, told in alone("audio", ways, runs=2)]
    assert "TensorrtExecutionProvider" in found[0]["error"]
    assert "no_such_runtime" in found[1]["error"]
    assert found[2]["p50_ms"] > 0
    with pytest.raises(BackendError, match="no_such_runtime"):
        Runner({"audio": ways[1]})


def test_a_way_is_measured_in_turns_with_the_one_before_it(audio):
    plain = Configuration(bundle=audio)
    with Runner({"audio": plain}) as base:
        comparison = compare(base, {"audio": plain}, rounds=2, sets=3)
    assert comparison.ratio_low <= comparison.ratio <= comparison.ratio_high
    assert comparison.role_p50_ms["audio"] <= comparison.role_p99_ms["audio"]


def faked(ratio, golden=(), roles=("audio",)):
    told = {role: {"golden": list(golden), "memory_mb": 10.0} for role in roles}

    def run(_base, _setting, **_):
        return Comparison(
            ratio=ratio,
            ratio_low=ratio,
            ratio_high=ratio,
            p50_ms=1.0,
            p99_ms=2.0,
            role_p50_ms=dict.fromkeys(roles, 1.0),
            role_p99_ms=dict.fromkeys(roles, 2.0),
            told=told,
            base_p50_ms=1.0,
        )

    return run


def tuned(audio, accuracy=lambda setting: 60.0, clock=time.monotonic, **options):
    tuner = Tuner(
        {"audio": [audio]},
        cores=2,
        budget_s=options.pop("budget_s", 3600.0),
        allowed_loss=1.0,
        accuracy=accuracy,
        say=lambda _: None,
        steady_s=clock,
    )
    return tuner.run()


@pytest.fixture(autouse=True)
def no_way_is_hopeless(monkeypatch):
    monkeypatch.setattr(tune, "_HOPELESS", 1000.0)


def test_a_helper_answers_a_process_that_has_many_files_open(audio):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"this user may have {hard} files open; the test needs 1,100")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        with ExitStack() as stack:
            for _ in range(1050):
                stack.enter_context(open(os.devnull))
            with Runner({"audio": Configuration(bundle=audio)}) as runner:
                assert len(runner.run(2)["set_ms"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_faster_in_the_set_is_chosen(audio, monkeypatch, tmp_path):
    monkeypatch.setattr(tune, "compare", faked(0.5))
    found = tuned(audio)
    assert found.chosen != found.default
    assert found.gain == 2.0
    assert found.map_loss is None
    plan = plan_of(found, {audio.sha256: "bev_lite/audio"})
    write_device_plan(tmp_path / "plan.yaml", plan)
    assert read_device_plan(tmp_path / "plan.yaml") == plan
    assert plan.sources["audio"].serves == "bev_lite/audio"
    assert json.dumps(as_json(found, plan))
    assert "2.00 times" in page(found, plan)


def test_what_is_no_faster_in_the_set_is_not_chosen(audio, monkeypatch):
    monkeypatch.setattr(tune, "compare", faked(1.2))
    found = tuned(audio)
    assert found.chosen == found.default
    assert found.gain == 1.0
    assert not any(item.verdict == FASTER for item in found.tried)


@pytest.mark.parametrize(("loss", "chosen"), [(0.5, True), (1.5, False), (float("nan"), False)])
def test_what_differs_from_its_golden_outputs_must_hold_in_accuracy(
    audio, monkeypatch, loss, chosen
):
    monkeypatch.setattr(tune, "compare", faked(0.5, golden=["3 of 5 values differ"]))
    plain = {"audio": Configuration(bundle=audio)}
    found = tuned(audio, lambda setting: 60.0 if setting == plain else 60.0 - loss)
    assert (found.chosen != found.default) is chosen
    if chosen:
        assert found.map_loss == loss
    else:
        assert any("points of mAP" in item.verdict for item in found.tried)


def test_without_time_the_default_stays_and_that_is_said(audio):
    found = tuned(audio, budget_s=1e-9)
    assert found.chosen == found.default
    assert found.out_of_time
    assert "the budget ended" in " ".join(plan_of(found, {}).notes)


@pytest.mark.parametrize("budget_s", [20.0, 60.0, 200.0])
def test_ways_alone_leave_time_for_the_set_and_that_for_the_last_comparison(
    audio, monkeypatch, budget_s
):
    way_s, set_s, now_s = 3.0, 5.0, [0.0]
    compared = faked(1.2)

    def alone(_role, ways, *, runs):
        for way in ways:
            now_s[0] += way_s
            yield way, {"p50_ms": 1.0, "memory_mb": 10.0}

    def compare(*args, **options):
        now_s[0] += set_s
        return compared(*args, **options)

    monkeypatch.setattr(tune, "alone", alone)
    monkeypatch.setattr(tune, "compare", compare)
    found = tuned(audio, budget_s=budget_s, clock=lambda: now_s[0])
    assert any(item.verdict == "no faster in the set" for item in found.tried)
    assert now_s[0] <= budget_s + way_s + set_s


class TwoRoles:
    """Two models, each of them faster in bfloat16 and, where asked, as a variant of 58 points."""

    ROLES = ("front", "rear")

    def __init__(
        self, audio, monkeypatch, *, set_s=5.0, budget_s=3600.0, bf16_points=59.8, variant=False
    ):
        plain = Configuration(bundle=audio)
        self.fast = Configuration(bundle=audio, precision="bf16")
        self.variant = Configuration(bundle=replace(audio, sha256="of the variant"))
        ways = [plain, self.fast, *([self.variant] if variant else [])]
        self.now_s, self.compared = 0.0, []
        self._set_s = set_s
        monkeypatch.setattr(tune, "configurations", lambda *_, **__: ways)
        monkeypatch.setattr(tune, "alone", self.alone)
        monkeypatch.setattr(tune, "compare", self.compare)
        monkeypatch.setattr(tune, "Runner", self.Runner)
        self.found = Tuner(
            {role: [audio] for role in self.ROLES},
            cores=2,
            budget_s=budget_s,
            allowed_loss=1.0,
            accuracy=lambda setting: min(
                58.0 if self.variant in setting.values() else 60.0,
                bf16_points if self.fast in setting.values() else 60.0,
            ),
            say=lambda _: None,
            steady_s=lambda: self.now_s,
        ).run()

    class Runner:
        def __init__(self, _setting, _frames=None):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def run(self, sets):
            role_ms = dict.fromkeys(TwoRoles.ROLES, [1.0] * sets)
            return {"set_ms": [1.0] * sets, "role_ms": role_ms}

    def alone(self, _role, ways, *, runs):
        for way in ways:
            self.now_s += 1.0
            p50_ms = 1.0 if way == self.fast else 0.5 if way == self.variant else 4.0
            yield way, {"p50_ms": p50_ms, "memory_mb": 10.0}

    def compare(self, base, setting, **options):
        self.now_s += self._set_s
        fast = sum(way in (self.fast, self.variant) for way in setting.values())
        self.compared.append(fast)
        ratio = 1.0 - 0.3 * fast if fast else 1.0
        return faked(ratio, golden=["differs"], roles=self.ROLES)(base, setting)


def test_the_best_ways_of_all_are_tried_together_before_each_alone(audio, monkeypatch):
    tuning = TwoRoles(audio, monkeypatch)
    assert tuning.compared[0] == 2
    assert all(way == tuning.fast for way in tuning.found.chosen.values())
    assert [item.verdict for item in tuning.found.tried].count(TOGETHER) == 2
    assert tuning.found.gain == pytest.approx(1 / 0.4)
    assert tuning.found.map_loss == pytest.approx(0.2)


def test_a_short_budget_still_finds_what_is_faster_in_all(audio, monkeypatch):
    tuning = TwoRoles(audio, monkeypatch, set_s=10.0, budget_s=20.0)
    assert all(way == tuning.fast for way in tuning.found.chosen.values())


def test_the_best_ways_that_cost_too_much_together_are_tried_each_alone(audio, monkeypatch):
    tuning = TwoRoles(audio, monkeypatch, bf16_points=58.0)
    assert tuning.compared[:3] == [2, 1, 1]
    assert tuning.found.chosen == tuning.found.default
    verdicts = [item.verdict for item in tuning.found.tried if item.configuration == tuning.fast]
    assert verdicts == ["costs 2.00 points of mAP > 1"] * 2


def test_where_variants_cost_too_much_the_served_models_are_tried_in_another_precision(
    audio, monkeypatch
):
    tuning = TwoRoles(audio, monkeypatch, variant=True)
    assert tuning.compared[:2] == [2, 2]
    assert all(way == tuning.fast for way in tuning.found.chosen.values())


@pytest.fixture
def cheaper(audio, monkeypatch):
    """Tunes with variants that take a share of the time and cost points; the default stays."""

    def run(variants, **options):
        times_ms = {audio.sha256: 10.0} | {name: 10.0 * v[0] for name, v in variants.items()}
        bundles = [audio, *(replace(audio, sha256=name) for name in variants)]

        def alone(_role, ways, *, runs):
            for way in ways:
                yield way, {"p50_ms": times_ms[way.bundle.sha256], "memory_mb": 10.0}

        def points(setting):
            return 60.0 - variants.get(setting["audio"].bundle.sha256, (1.0, 0.0))[1]

        monkeypatch.setattr(tune, "alone", alone)
        monkeypatch.setattr(tune, "compare", faked(1.0))
        tuner = Tuner(
            {"audio": bundles}, cores=1, budget_s=3600.0, allowed_loss=1.0, accuracy=points,
            say=lambda _: None, **options,
        )  # fmt: skip
        found = tuner.run()
        return found, plan_of(found, {name: f"{name}/audio" for name in variants})

    return run


def test_the_plan_has_what_is_cheaper_in_the_chosen_way_from_large_to_tiny(cheaper):
    found, plan = cheaper(
        {"tenth": (0.1, 4.0), "half": (0.5, 2.5), "same": (0.95, 0.0), "bad": (0.2, 5.5)}
    )
    listed = plan.sources["audio"].cheaper
    assert [(item.model, item.sha256, item.time, item.map_loss) for item in listed] == [
        ("half/audio", "half", 0.5, 2.5),
        ("tenth/audio", "tenth", 0.1, 4.0),
    ]
    assert "costs 5.50 points of mAP &gt; 5" in page(found, plan)


def test_what_is_faster_in_some_turns_only_is_not_called_cheaper(audio, monkeypatch):
    other = replace(audio, sha256="other")
    # Alone once, and then in three turns: a busy machine.
    times_ms = {audio.sha256: [10.0, 10.0, 10.0, 10.0], "other": [9.0, 5.0, 12.0, 6.0]}

    def alone(_role, ways, *, runs):
        for way in ways:
            yield way, {"p50_ms": times_ms[way.bundle.sha256].pop(0), "memory_mb": 10.0}

    monkeypatch.setattr(tune, "configurations", lambda bundles, **_: [
        Configuration(bundle=bundle) for bundle in bundles
    ])  # fmt: skip
    monkeypatch.setattr(tune, "alone", alone)
    monkeypatch.setattr(tune, "compare", faked(1.0))
    found = Tuner(
        {"audio": [audio, other]}, cores=1, budget_s=3600.0, allowed_loss=1.0,
        accuracy=lambda _: 60.0, say=lambda _: None,
    ).run()  # fmt: skip
    (compared,) = found.compared
    assert compared.verdict == "takes 0.50 to 1.20 of the time by turn"


def test_the_gate_of_cheaper_models_is_its_own(cheaper):
    assert not cheaper({"half": (0.5, 2.5)}, cheaper_loss=2.0)[1].sources["audio"].cheaper
    assert cheaper({"half": (0.5, 2.5)}, cheaper_loss=3.0)[1].sources["audio"].cheaper


def test_where_nothing_is_cheaper_plan_and_page_say_why(cheaper):
    found, plan = cheaper({"same": (0.95, 0.0), "slow": (3.0, 0.0)})
    (note,) = (note for note in plan.notes if "nothing measured cheaper" in note)
    assert "takes 0.95 of the time" in note
    assert "takes 3.00 of the time" in note
    assert note in page(found, plan)


def test_variants_are_of_the_same_role_and_feature_space():
    variants, names = variants_of_set("bev_lite", installed_model_folders())
    assert [names[b.sha256] for b in variants["camera"]] == [
        "bev_lite/camera",
        "bev_lite_int8/camera",
    ]
    assert [names[b.sha256] for b in variants["fusion"]] == ["bev_lite/fusion"]
    with pytest.raises(ConfigurationError, match=r"expected one of .*bev_lite, .*'bev_heavy'"):
        variants_of_set("bev_heavy", installed_model_folders())


@pytest.fixture
def damaged(tmp_path):
    """A folder with a set of which one bundle is damaged."""
    for name in ("audio", "lidar"):
        bundle = find_bundle(f"bev_lite/{name}", installed_model_folders())
        shutil.copytree(bundle.path, tmp_path / "mine" / name)
    (tmp_path / "mine/audio/model.onnx").write_bytes(b"")
    return tmp_path


def test_a_damaged_bundle_of_the_set_is_named_and_not_left_out(damaged):
    with pytest.raises(ConfigurationError, match=r"mine/audio cannot be used: model\.onnx"):
        variants_of_set("mine", [damaged])


def test_devices_name_what_cannot_be_used(damaged, capsys, monkeypatch):
    monkeypatch.setattr("edge_perception.optimize.devices.alone", lambda *_, **__: [])
    assert main(["devices", "--json", "--folder", str(damaged)]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    (row,) = (row for row in rows if row["model"] == "mine/audio")
    assert not row["runs"]
    assert "expected" in row["why_not"]


@pytest.mark.parametrize("command", ["devices", "tune"])
def test_a_folder_that_is_not_there_is_named(command, capsys):
    assert main([command, "--folder", "/nowhere"]) == 2
    assert "--folder: expected a folder, got /nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--out", "--json", "--page"])
def test_what_cannot_be_written_is_known_before_anything_is_measured(
    option, capsys, monkeypatch, tmp_path
):
    def measured(*_, **__):
        raise AssertionError("it was measured first")

    monkeypatch.setattr("edge_perception.optimize.tune.Tuner", measured)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    for place in (tmp_path, file / "below"):
        assert main(["tune", option, str(place)]) == 2
        assert str(place) in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--budget-s", "--allowed-loss"])
def test_a_limit_that_is_no_number(option, capsys):
    assert main(["tune", option, "nan"]) == 2
    assert option in capsys.readouterr().err


@pytest.mark.parametrize(("set_ms", "sets"), [(100.0, 6), (20.0, 10), (5.0, 40), (0.2, 60)])
def test_a_round_of_fast_models_has_more_sets(audio, monkeypatch, set_ms, sets):
    run, asked = faked(0.5), []

    def noted(base, setting, **options):
        asked.append(options["sets"])
        return run(base, setting)

    monkeypatch.setattr(Runner, "run", lambda _self, count: {
        "set_ms": [set_ms] * count, "role_ms": {"audio": [set_ms] * count},
    })  # fmt: skip
    monkeypatch.setattr(tune, "compare", noted)
    tuned(audio)
    assert set(asked) == {sets}
