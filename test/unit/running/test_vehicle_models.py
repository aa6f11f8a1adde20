"""Which models a lock-step vehicle asks for: those of its sources, as the nodes do."""

import pytest

from edge_perception.core.errors import ModelError
from edge_perception.replay.vehicle import OwnModels, build_vehicle
from edge_perception.replay.virtual import StageClock
from edge_perception.running.vehicle_plan import read_plan


class Asked(OwnModels):
    """Notes what it is asked for, and has no fusion model."""

    def __init__(self):
        self.roles = []

    def of(self, options, role, modality=""):
        self.roles.append((role, modality))
        if role == "fusion":
            raise ModelError("none here")
        return super().of(options, role, modality)


def test_each_source_has_its_own_entry_of_store_and_device_plan(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text("/**/fusion: {ros__parameters: {sources: [lidar, lidar_rear]}}\n")
    models = Asked()
    with pytest.raises(ModelError, match="none here"):
        build_vehicle(read_plan([path]), StageClock(), models)
    assert models.roles == [("lidar", "lidar"), ("lidar_rear", "lidar"), ("fusion", "")]
