"""A folder of compiled models is used beside signed ones only where others can put nothing in."""

from __future__ import annotations

import os
import re

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.models.compile_cache import private_folder
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.loading import ModelOptions, open_bundle

STRANGER = 54321


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o755)
    (folder / "model.blob").write_bytes(b"compiled")
    (folder / "model.blob").chmod(0o644)
    return folder


def test_a_new_folder_is_this_users_alone(tmp_path):
    folder = private_folder(tmp_path / "new" / "cache")
    assert folder == tmp_path / "new" / "cache"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_others_only_read_may_be_used(cache):
    assert private_folder(cache) == cache


def test_a_link_to_the_folder_is_followed_once(cache, tmp_path):
    (tmp_path / "link").symlink_to(cache)
    assert private_folder(tmp_path / "link") == cache


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_folder_that_others_write_is_refused(cache, mode):
    cache.chmod(mode)
    with pytest.raises(ConfigurationError, match=re.escape(f"{cache}: expected that others")):
        private_folder(cache)


def test_a_folder_above_that_others_write_is_refused_unless_it_is_sticky(tmp_path):
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o777)
    with pytest.raises(ConfigurationError, match=re.escape(f"{above}: expected that others")):
        private_folder(above / "cache")
    above.chmod(0o1777)
    assert private_folder(above / "cache") == above / "cache"


def test_a_file_that_others_write_is_refused_unless_they_do_not_reach_it(cache):
    (cache / "model.blob").chmod(0o666)
    with pytest.raises(ConfigurationError, match=r"model\.blob: expected that others .*666"):
        private_folder(cache)
    cache.chmod(0o700)
    assert private_folder(cache) == cache


def test_a_link_in_it_is_refused(cache, tmp_path):
    (cache / "other.blob").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="got a link"):
        private_folder(cache)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("which", ["cache", "cache/model.blob"])
def test_what_belongs_to_another_user_is_refused(cache, which):
    os.chown(cache.parent / which, STRANGER, -1)
    with pytest.raises(ConfigurationError, match=f"this user's, got {STRANGER}'s"):
        private_folder(cache)


def test_what_cannot_be_a_folder_is_named(cache):
    with pytest.raises(ConfigurationError, match=r"model\.blob"):
        private_folder(cache / "model.blob")


@pytest.mark.parametrize(("trust_file", "told"), [("", False), ("trust.json", True)])
def test_beside_a_trust_file_an_open_cache_is_not_used_and_that_is_told(cache, trust_file, told):
    cache.chmod(0o777)
    bundle = find_bundle("bev_lite/audio", installed_model_folders())
    options = ModelOptions(model="audio", trust_file=trust_file, compile_cache=str(cache))
    loaded = open_bundle(bundle, options)
    loaded.backend.close()
    text = "compile_cache is not used: trust_file is set, and"
    assert any(note.startswith(text) for note in loaded.notes) is told


def test_a_cache_of_this_user_is_used_beside_a_trust_file(cache):
    bundle = find_bundle("bev_lite/audio", installed_model_folders())
    options = ModelOptions(model="audio", trust_file="trust.json", compile_cache=str(cache))
    loaded = open_bundle(bundle, options)
    loaded.backend.close()
    assert not loaded.notes
