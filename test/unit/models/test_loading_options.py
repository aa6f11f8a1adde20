"""Parameters of a node become the options of a session."""

from pathlib import Path

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.models.loading import ModelOptions, backend_options


def test_a_chain_with_options():
    options = backend_options(
        ModelOptions(
            model="m",
            provider="tensorrt, cuda,cpu",
            provider_options=("cuda.device_id=1", "tensorrt.trt_fp16_enable=False"),
            precision="fp16",
            strict_provider=True,
            compile_cache="/var/cache/engines",
        )
    )
    assert options.provider == ("tensorrt", "cuda", "cpu")
    assert options.provider_options == {
        "cuda": {"device_id": "1"},
        "tensorrt": {"trt_fp16_enable": "False"},
    }
    assert options.strict
    assert options.precision == "fp16"
    assert options.cache == Path("/var/cache/engines")


def test_nothing_set_is_the_cpu():
    options = backend_options(ModelOptions(model="m"))
    assert options.provider == ()
    assert options.cache is None


@pytest.mark.parametrize("text", ["device_id=1", "cuda.device_id", "cuda.=1", ".device_id=1"])
def test_an_option_that_is_none_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"provider\.name=value"):
        backend_options(ModelOptions(model="m", provider_options=(text,)))
