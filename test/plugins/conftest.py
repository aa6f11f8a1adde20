import pytest
import radar

from edge_perception.core import plugins


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch):
    """Each test names its folders itself; none is left behind for others."""
    monkeypatch.setattr(plugins, "_folders", ())


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The radar's model, imported with the runtime and the adapter of the plug-in folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "_folders", ())
        return radar.import_bundle(tmp_path_factory.mktemp("radar"), "--backend", "reference")


@pytest.fixture
def parameters(tmp_path, bundle):
    return radar.parameters(tmp_path, bundle)
