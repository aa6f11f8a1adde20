"""Skips that name the extra, and an owner with a registry."""

import importlib.util

import pytest

_NEEDED = ("tuf", "obstore", "paho")
_MISSING = [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def pytest_collection_modifyitems(items):
    if _MISSING:
        skip = pytest.mark.skip(
            reason=f"{', '.join(_MISSING)} not installed: `make setup-fleet` (extra `fleet`)"
        )
        for item in items:
            if "test/fleet/" in str(item.path):
                item.add_marker(skip)


@pytest.fixture
def owner(tmp_path):
    from fleet_rig import Owner

    return Owner(tmp_path)
