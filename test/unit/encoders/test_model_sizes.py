"""The limit of a node's models holds by what was measured, of what serves too."""

from dataclasses import replace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from edge_perception.core.errors import ModelError
from edge_perception.encoders import encoders
from edge_perception.encoders.load_control import LoadOptions
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.loading import ModelOptions
from edge_perception.nodes.encoder import load as encoder_load

MB = 2**20


@pytest.mark.parametrize(("limit_mb", "fits"), [(79, False), (80, True)])
def test_what_serves_counts_as_measured_where_its_manifest_says_nothing(
    monkeypatch, limit_mb, fits
):
    served = find_bundle("bev_lite/lidar", installed_model_folders())
    resources = replace(served.manifest.resources, peak_memory_bytes=0)
    served = replace(served, manifest=replace(served.manifest, resources=resources))
    monkeypatch.setattr(encoder_load, "peak_memory_bytes", lambda _bundle, _way: 40 * MB)
    control = encoder_load.encoder_load(
        events=type("Events", (), {"tell": print})(),
        options=LoadOptions(budget_ms=50.0, variants=("bev_lite_int8/lidar",), models_mb=limit_mb),
        spec=encoders()["lidar"],
        source="lidar",
        model=ModelOptions(model="bev_lite/lidar"),
        load=lambda name: name,
        beside=lambda: [served],
        heat=type("Heat", (), {"watch": lambda *_: None})(),
    )
    cache = control.stand_ins.cache
    if fits:
        assert cache.use("bev_lite_int8/lidar") == "bev_lite_int8/lidar"
        assert cache.figures().used_bytes == 80 * MB
    else:
        with pytest.raises(ModelError, match="40 MB, the limit is 79 MB of which 40 MB serve"):
            cache.use("bev_lite_int8/lidar")
