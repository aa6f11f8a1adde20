import subprocess
import sys

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.extras import MissingExtraError, extra


def test_a_missing_library_is_answered_with_its_extra():
    with pytest.raises(MissingExtraError) as caught, extra("ray"):
        import a_library_of_an_extra  # noqa: F401
    assert "No module named 'a_library_of_an_extra'" in str(caught.value)
    assert "pip install 'edge_perception[ray]'" in str(caught.value)
    assert isinstance(caught.value, ConfigurationError)


def test_what_is_there_is_imported():
    with extra("ray"):
        import json
    assert json


@pytest.mark.parametrize(
    ("library", "name", "ask"),
    [
        ("openvino", "openvino", "from edge_perception.backends import backends as b; "
         "b()['openvino']"),
        ("tensorrt", "tensorrt", "from edge_perception.backends import backends as b; "
         "b()['tensorrt']"),
        ("ray", "ray", "from edge_perception.validation.ray_jobs import run_on_ray as r; "
         "r([], address='local', jobs=1, say=print)"),
        ("grpc", "kserve", "from edge_perception.backends.kserve.grpc import GrpcRemote as g; "
         "g('grpc://localhost:1', 'm')"),
        ("google.protobuf", "kserve", "import edge_perception.backends.kserve.messages"),
    ],
)  # fmt: skip
def test_parts_without_their_library_say_so(library, name, ask):
    code = f"import sys; sys.modules[{library!r}] = None\n{ask}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"pip install 'edge_perception[{name}]'" in done.stderr.splitlines()[-1]
