"""Which processes are supervised."""

from __future__ import annotations

import importlib

from edge_perception.running.supervised_nodes import node_processes


def test_the_metrics_are_a_process_only_where_they_are_asked_for():
    without = [spec.name for spec in node_processes(["lidar"], [])]
    assert without == ["lidar_encoder", "fusion", "model_manager"]
    *others, metrics = node_processes(["lidar"], ["--log-level", "info"], metrics=True)
    assert [spec.name for spec in others] == without
    assert metrics.name == "metrics"
    module = metrics.command[metrics.command.index("-m") + 1]
    assert callable(importlib.import_module(module).main)
    assert "sources:=[lidar]" in metrics.command
