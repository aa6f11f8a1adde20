"""Semantic versions by the rules and examples of semver.org."""

import itertools
import random

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.version import parse_version, version_key

# The examples of items 10 and 11, and what people get wrong.
ORDERED = [
    "0.9.0",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.9.0",
    "1.10.0",
    "1.11.0",
    "2.0.0",
    "2.1.0",
    "2.1.1",
    "10.0.0-0",
    "10.0.0-99999999999999999999",
    "10.0.0",
]
# Of the test set that semver.org links to.
VALID = [
    "0.0.4",
    "1.1.2-prerelease+meta",
    "1.1.2+meta-valid",
    "1.0.0-alpha0.valid",
    "1.0.0-alpha-a.b-c-somethinglong+build.1-aef.1-its-okay",
    "1.0.0-rc.1+build.123",
    "2.0.0+build.1848",
    "1.0.0+0.build.1-rc.10000aaa-kk-0.1",
    "1.0.0-0A.is.legal",
    "1.2.3----RC-SNAPSHOT.12.9.1--.12",
]
INVALID = [
    "",
    "1",
    "1.2",
    "v1.2.3",
    "1.2.3-0123",
    "1.2.3-0123.0123",
    "1.1.2+.123",
    "+invalid",
    "-invalid",
    "alpha",
    "1.0.0-alpha_beta",
    "1.0.0-alpha..1",
    "01.1.1",
    "1.01.1",
    "1.1.01",
    "1.2.3.DEV",
    "1.2-SNAPSHOT",
    "1.2.31.2.3----RC-SNAPSHOT.12.09.1--..12+788",
    "1.2.3 ",
    "1.2.3\n",
    "１.2.3",
    "9" * 300 + ".0.0",
]


def test_precedence():
    shuffled = ORDERED[:]
    random.Random(1).shuffle(shuffled)
    assert sorted(shuffled, key=version_key) == ORDERED
    for old, new in itertools.combinations(ORDERED, 2):
        assert parse_version(old) < parse_version(new)
        assert not parse_version(new) < parse_version(old)


def test_build_metadata_does_not_count():
    one, other = parse_version("1.0.0+20130313144700"), parse_version("1.0.0+exp.sha.5114f85")
    assert one.key == other.key
    assert not one < other


@pytest.mark.parametrize("text", VALID)
def test_valid(text):
    version = parse_version(text)
    pre = f"-{'.'.join(version.pre)}" if version.pre else ""
    build = f"+{version.build}" if version.build else ""
    assert f"{version.major}.{version.minor}.{version.patch}{pre}{build}" == text


@pytest.mark.parametrize("text", INVALID)
def test_invalid(text):
    with pytest.raises(ConfigurationError, match="expected a semantic version"):
        parse_version(text)
    assert version_key(text) < version_key("0.0.0-0")
