import importlib.metadata
import sys

import pytest

from edge_perception.core import plugins
from edge_perception.core.errors import ConfigurationError, EdgePerceptionError, UnknownNameError
from edge_perception.core.plugins import add_plugin_folders, plugin_folders
from edge_perception.core.registry import Discovery


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch):
    monkeypatch.setattr(plugins, "_folders", ())


@pytest.fixture
def discovery(tmp_path, monkeypatch):
    folder = tmp_path / "kinds"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "good.py").write_text("SPEC = 'good'")
    (folder / "broken.py").write_text("import a_module_that_is_not_installed")
    (folder / "raises.py").write_text("1 / 0")
    (folder / "helper.py").write_text("x = 1")
    (folder / "_private.py").write_text("SPEC = 'private'")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("kinds")
    yield Discovery(
        "kinds", kind="kind", group="encoders", spec_type=str, name_of=lambda spec: spec
    )
    for name in [name for name in sys.modules if name.split(".")[0] == "kinds"]:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path):
    """A plug-in folder, used when asked for."""

    def make(name="mine", **files):
        place = tmp_path / name / "encoders"
        for file, text in files.items():
            path = place / (file.replace("__", "/", 1) + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        add_plugin_folders([tmp_path / name])
        return place

    return make


def test_finds_specs_and_keeps_the_reason_of_failures(discovery):
    registry = discovery.registry()
    assert registry.specs == {"good": "good"}
    assert registry["good"] == "good"
    with pytest.raises(EdgePerceptionError, match=r"kind 'broken' cannot be used.*not_installed"):
        registry["broken"]
    with pytest.raises(EdgePerceptionError, match=r"kind 'raises' cannot be used.*ZeroDivision"):
        registry["raises"]
    with pytest.raises(UnknownNameError, match="unknown kind 'other'; known: good"):
        registry["other"]


def test_folders_named_later_are_looked_at(discovery, folder):
    assert "mine" not in discovery.registry().specs
    place = folder(mine="from . import _part\nSPEC = _part.NAME", _part="NAME = 'mine'")

    registry = discovery.registry()

    assert registry["mine"] == "mine"
    assert registry.origins == {"mine": str(place)}
    assert registry is discovery.registry()


def test_what_a_folder_holds_and_cannot_be_used_says_why(discovery, folder):
    place = folder(
        broken_too="import not_there_either",
        none="x = 1",
        other="SPEC = 1",
        renamed="SPEC = 'something'",
        package__part="SPEC = 'package'",
    )
    failures = discovery.registry().failures
    assert "not_there_either" in failures["broken_too"]
    assert failures["none"] == f"{place}: expected a SPEC of str, got none"
    assert failures["other"] == f"{place}: expected a SPEC of str, got one of type int"
    assert failures["renamed"].endswith("expected a SPEC named as its module, got 'something'")
    assert "got none" in failures["package"]  # a folder without __init__.py


def test_two_of_one_name_are_refused(discovery, folder):
    place = folder(good="SPEC = 'good'")
    with pytest.raises(ConfigurationError, match=f"'good' is in the package and in {place}"):
        discovery.registry()


def test_two_folders_of_one_name_are_refused(discovery, folder):
    folder("one", mine="SPEC = 'mine'")
    folder("two", mine="SPEC = 'mine'")
    with pytest.raises(ConfigurationError, match=r"kind 'mine' is in .*one.* and in .*two"):
        discovery.registry()


def test_a_plugin_stands_in_for_what_the_package_cannot_import(discovery, folder):
    folder(broken="SPEC = 'broken'")
    registry = discovery.registry()
    assert registry["broken"] == "broken"
    assert "broken" not in registry.failures


def test_folders_must_be_plugin_folders(tmp_path):
    with pytest.raises(ConfigurationError, match=r"expected a folder, got .*nowhere"):
        add_plugin_folders([tmp_path / "nowhere"])
    with pytest.raises(ConfigurationError, match="expected one of encoders, backends, adapters"):
        add_plugin_folders([tmp_path])
    assert plugin_folders() == ()


def test_a_folder_counts_once(tmp_path, monkeypatch):
    (tmp_path / "adapters").mkdir()
    monkeypatch.chdir(tmp_path)
    add_plugin_folders([tmp_path, ".", str(tmp_path)])
    assert plugin_folders() == (tmp_path,)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Make a distribution with entry points, as pip would install it."""

    def install(entry_points, **modules):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / "their_radar-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-radar\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[edge_perception.encoders]\n{entry_points}\n")
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    for name in ("their_sensor", "their_module", "their_trouble"):
        sys.modules.pop(name, None)


def test_entry_points_of_other_distributions(discovery, installed):
    installed(
        "sensor = their_sensor:SPECIFICATION\nmodule = their_module\ntrouble = their_trouble:SPEC",
        their_sensor="SPECIFICATION = 'sensor'",
        their_module="SPEC = 'module'",
        their_trouble="import not_there",
    )
    registry = discovery.registry()
    assert registry["sensor"] == "sensor"
    assert registry["module"] == "module"
    assert registry.origins["sensor"] == "entry point of their-radar"
    with pytest.raises(ConfigurationError, match="entry point of their-radar: No module named"):
        registry["trouble"]
