import sys
import types

import pytest

from edge_perception.core.errors import EdgePerceptionError, UnknownNameError
from edge_perception.core.registry import discover


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "good.py").write_text("SPEC = 'good spec'")
    (folder / "broken.py").write_text("import a_module_that_is_not_installed")
    (folder / "helper.py").write_text("x = 1")
    (folder / "_private.py").write_text("SPEC = 'private'")
    monkeypatch.syspath_prepend(tmp_path)
    import plugins

    yield plugins
    for name in [name for name in sys.modules if name.split(".")[0] == "plugins"]:
        del sys.modules[name]


def test_finds_specs_and_keeps_the_reason_of_failures(package: types.ModuleType):
    registry = discover(package, kind="plugin", spec_type=str)
    assert registry.specs == {"good": "good spec"}
    assert registry["good"] == "good spec"
    with pytest.raises(EdgePerceptionError, match=r"plugin 'broken' cannot be used.*not_installed"):
        registry["broken"]
    with pytest.raises(UnknownNameError, match="unknown plugin 'other'; known: good"):
        registry["other"]
