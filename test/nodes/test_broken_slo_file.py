"""An SLO file that is broken is named with file, line and what is allowed; views go on."""

from __future__ import annotations

from harness import Harness, wait_until

from edge_perception import msg
from edge_perception.core.health import Health, Level
from edge_perception.nodes.fusion.findings import with_broken_slo
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.manager.node import ModelManagerNode
from edge_perception.releases.slo import SCHEMA

TEXT = f"schema: {SCHEMA}\nobjectives:\n- name: fast\n  indicator: speed\n"
SAID = (
    ":4: slo.objectives[0].indicator: expected one of end_to_end_ms, deadline, valid, errors, "
    "drift, memory, got 'speed'"
)


def test_views_go_on_and_models_stay_as_they_are(harness: Harness, tmp_path):
    path = tmp_path / "slo.yaml"
    path.write_text(TEXT)
    given = {"slo_file": str(path)}
    fusion = harness.add(FusionNode, parameters={"sources": ["lidar"], "model": "", **given})
    manager = harness.add(
        ModelManagerNode, parameters={"model_store": str(tmp_path / "store"), **given}
    )
    fused = harness.subscribe(msg.FusedPerception, "perception/fused")
    harness.start()
    fused.wait()
    assert fusion.is_active
    assert fusion.health().values["slo"] == f"no objective is judged: slo_file: {path}{SAID}"
    health = manager.health()
    assert health.level == Level.ERROR
    assert f"swapping is off: {path}{SAID}" in health.message

    path.write_text(TEXT.replace("speed", "valid"))
    for node in (fusion, manager):
        node.trigger_deactivate()
        node.trigger_cleanup()
        node.trigger_configure()
        node.trigger_activate()
    count = len(fused.messages)
    fused.wait(since=count)
    assert "slo" not in fusion.health().values
    wait_until(lambda: "swapping is off" not in manager.health().message, "models can change")
    assert not harness.callback_errors


def test_where_all_else_is_well_it_is_a_warning():
    health = with_broken_slo(Health(level=Level.OK, message="well"), "broken")
    assert (health.level, health.message) == (Level.WARN, "broken")
