"""The operator's file: what it says, where it is wrong, and who may ask for more."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.share import share_file
from edge_perception.models.manifest import Objectives
from edge_perception.releases.slo import SCHEMA, Slo, TrialGate
from edge_perception.releases.slo_file import parse_slo, read_slo

HEAD = f"schema: {SCHEMA}\n"


def explained(part: object) -> Iterator[tuple[str, str]]:
    """The values of a section in order, each with what is said of it."""
    for item in fields(part):
        value = getattr(part, item.name)
        if is_dataclass(value):
            yield from explained(value)
        else:
            unit = f" [{item.metadata['unit']}]" if item.metadata["unit"] else ""
            yield item.name, item.metadata["text"] + unit


def test_the_shipped_file_holds_and_explains_every_default():
    path = share_file("config/slo.yaml")
    assert read_slo(str(path)) == read_slo("") == Slo()
    said = re.findall(r"^ +(\w+): \S+  # (.*)$", path.read_text(), re.MULTILINE)
    assert said == [*explained(Slo().trial), *explained(Slo().watch)]


def test_a_file_says_only_what_differs():
    slo = parse_slo(HEAD + "trial: {behaviour: {whole: {min_found: 0.9}}}\n", "x")
    assert slo.trial.behaviour.whole.min_found == 0.9
    assert slo.watch == Slo().watch
    assert slo.objectives == Slo().objectives


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f:1: expected an SLO file, got an empty one"),
        ("- a\n", "f:1: slo: expected a mapping, got ['a']"),
        ("schema: other\n", "f:1: slo.schema: expected one of"),
        (HEAD + "trial:\n  error_rat: 1\n", "f:3: slo.trial.error_rat: expected one of"),
        (HEAD + "watch:\n  soak_s: -1\n", "f:3: slo.watch.soak_s: expected"),
        (HEAD + "watch:\n  soak_s: soon\n", "f:3: slo.watch.soak_s: expected a number"),
        (HEAD + "watch:\n  soak_s: .nan\n", "f:3: slo.watch.soak_s: expected"),
        (HEAD + "watch: {}\nwatch: {}\n", "f:3: slo.watch: given twice"),
        (HEAD + "a: [\n", "f:3: expected YAML"),
        (
            HEAD + "trial:\n  error_rate: 0.3\n  error_rate_bad: 0.1\n",
            "f:4: slo.trial.error_rate_bad: expected more than error_rate 0.3, got 0.1",
        ),
        (
            HEAD + "objectives:\n  - {name: a, indicator: valid}\n  - {name: b, indicator: vali}\n",
            "f:4: slo.objectives[1].indicator: expected one of",
        ),
        (
            HEAD + "objectives:\n  - name: a\n    indicator: memory\n",
            "f:3: slo.objectives.a.at_most: expected a limit above 0 for memory",
        ),
        (
            HEAD + "objectives:\n  - name: a\n    indicator: valid\n    at_most: 3\n",
            "f:5: slo.objectives.a.at_most: expected none for valid, got 3",
        ),
        (
            HEAD + "objectives:\n- {name: a, indicator: valid}\n- {name: a, indicator: errors}\n",
            "f:4: slo.objectives[1].name: expected a name that no other one has, got 'a'",
        ),
        (
            HEAD + "objectives:\n- {name: '', indicator: valid}\n",
            "f:3: slo.objectives[0].name: expected a name, got ''",
        ),
        ("---\n", "f:1: expected an SLO file, got an empty one"),
        ("a text\n", "f:1: slo: expected a mapping, got 'a text'"),
        ("watch: {}\n", f"f:1: slo.schema: expected {SCHEMA}, got nothing"),
        (HEAD + "watch: !!python/none {}\n", "f:2: expected YAML: could not determine"),
        (HEAD + "? [a]\n: b\n", "f:2: expected YAML: found unhashable key"),
        (HEAD + "watch:\n\tsoak_s: 3\n", "f:3: expected YAML: found character"),
        (HEAD + "---\nwatch: {}\n", "f:2: expected YAML: but found another document"),
        # Of a wrong type or unit: what is allowed is said all the same.
        (
            HEAD + "watch:\n  soak_s: 60 s\n",
            "f:3: slo.watch.soak_s: expected a number, 0 to 86400 s, got '60 s'",
        ),
        (
            HEAD + "objectives:\n- name: a\n  indicator: valid\n  target: 99%\n",
            "f:5: slo.objectives[0].target: expected a number, 0 to 1, got '99%'",
        ),
        (
            HEAD + "objectives:\n- name: a\n  indicator: valid\n  target: 99\n",
            "f:5: slo.objectives[0].target: expected 0 to 1, got 99",
        ),
        (
            HEAD + "objectives:\n- name: a\n  indicator: valid\n  min_events:\n",
            "f:5: slo.objectives[0].min_events: expected an integer, 1 to 1e+06, got None",
        ),
        (
            HEAD + "objectives:\n- name: a\n  indicator: valid\n  on_burn: off\n",
            "f:5: slo.objectives[0].on_burn: expected one of warn, roll_back, got False",
        ),
        (
            HEAD + "objectives:\n- name: a\n  indicator: valid\n  window_ms: 10000\n",
            "f:5: slo.objectives[0].window_ms: expected one of at_most, indicator, min_events, "
            "name, on_burn, target, window_s",
        ),
        (
            HEAD + "objectives:\n- name: a\n",
            "f:3: slo.objectives[0].indicator: expected one of end_to_end_ms, deadline, valid, "
            "errors, drift, memory, got nothing",
        ),
        (HEAD + "objectives:\n- valid\n", "f:3: slo.objectives[0]: expected a mapping"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text, expected):
    with pytest.raises(ConfigurationError) as found:
        parse_slo(text, "f")
    assert str(found.value).startswith(expected)


def test_an_exponent_needs_no_point():
    slo = parse_slo(HEAD + "trial: {missed_alarm: 1e-5, max_samples: 500}\n", "x")
    assert slo.trial.missed_alarm == 1e-5
    assert slo.trial.max_samples == 500


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="expected an SLO file"):
        read_slo(str(tmp_path / "none.yaml"))
    path = tmp_path / "slo.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="expected an SLO file"):
        read_slo(str(path))
    path.write_text("#" * 70_000)
    with pytest.raises(ConfigurationError, match="at most 65536 bytes"):
        read_slo(str(path))


def test_a_manifest_can_only_ask_for_more():
    gate = TrialGate(deadline_ms=50.0)
    lax = Objectives(
        error_rate=0.3,
        error_rate_bad=0.8,
        latency_increase=90.0,
        deadline_ms=500.0,
        min_samples=1,
        max_samples=10**6,
        stage_timeout_s=9999.0,
    )
    assert gate.stricter(lax) == gate
    assert gate.stricter(Objectives()) == gate
    own = Objectives(deadline_ms=10.0, min_samples=50, error_rate=0.001, latency_increase=0.1)
    assert gate.stricter(own) == replace(
        gate, deadline_ms=10.0, min_samples=50, error_rate=0.001, latency_increase=0.1
    )
    assert TrialGate().stricter(Objectives(deadline_ms=7.0)).deadline_ms == 7.0
    rates = TrialGate().stricter(Objectives(error_rate_bad=0.001))
    assert rates.error_rate < rates.error_rate_bad == 0.001
