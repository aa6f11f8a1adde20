"""Where the data files are found."""

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.share import _share_directory_of, share_file


def installed(prefix, site):
    module = prefix / site / "edge_perception" / "core" / "share.py"
    module.parent.mkdir(parents=True)
    return module


def test_a_checkout_is_its_own_share(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "package.xml").touch()

    assert _share_directory_of(tmp_path / "edge_perception" / "core" / "share.py") == tmp_path


@pytest.mark.parametrize(
    "site", ["lib/python3.12/site-packages", "local/lib/python3.10/dist-packages"]
)
def test_an_installation_keeps_it_below_its_prefix(tmp_path, site):
    (tmp_path / "share" / "edge_perception" / "config").mkdir(parents=True)

    found = _share_directory_of(installed(tmp_path, site))

    assert found == tmp_path / "share" / "edge_perception"


def test_an_incomplete_installation_is_said(tmp_path):
    with pytest.raises(ConfigurationError, match="share/edge_perception/config"):
        _share_directory_of(installed(tmp_path, "lib/python3.12/site-packages"))


def test_a_missing_file_is_named():
    with pytest.raises(ConfigurationError, match=r"no_such\.yaml"):
        share_file("config/no_such.yaml")
