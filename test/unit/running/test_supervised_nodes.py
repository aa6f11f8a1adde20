"""Which processes are supervised."""

from __future__ import annotations

import importlib

import pytest

from edge_perception.cli.run import OBSERVERS
from edge_perception.running.supervised_nodes import node_processes


@pytest.mark.parametrize("name", OBSERVERS)
def test_an_observer_is_a_process_only_where_it_is_asked_for(name):
    without = [spec.name for spec in node_processes(["lidar"], [])]
    assert without == ["lidar_encoder", "fusion", "model_manager"]
    *others, observer = node_processes(["lidar"], ["--log-level", "info"], observers=[name])
    assert [spec.name for spec in others] == without
    assert observer.name == name
    module = observer.command[observer.command.index("-m") + 1]
    assert callable(importlib.import_module(module).main)
    assert "sources:=[lidar]" in observer.command
