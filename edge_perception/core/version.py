"""Semantic versions, compared as https://semver.org/spec/v2.0.0.html says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_perception.core.errors import ConfigurationError

# The regular expression that semver.org suggests, without its names.
_NUMBER = r"(0|[1-9]\d*)"
_PRE = r"(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_PATTERN = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PRE}(?:\.{_PRE})*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?",
    re.ASCII,
)
_LONGEST = 200
# Numbers go before texts, and fewer fields before more of the same beginning.
_Field = tuple[int, int, str]
Key = tuple[int, int, int, int, tuple[_Field, ...]]


@dataclass(frozen=True, kw_only=True)
class SemanticVersion:
    """MAJOR.MINOR.PATCH, of a pre-release where `pre` is not empty."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()
    build: str = ""  # does not count where two are compared

    @property
    def key(self) -> Key:
        """What to sort by: pre-releases before their release, build metadata left out."""
        fields = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre)
        return (self.major, self.minor, self.patch, 0 if self.pre else 1, fields)

    def __lt__(self, other: SemanticVersion) -> bool:
        """Whether it is older."""
        return self.key < other.key


def parse_version(text: str) -> SemanticVersion:
    """Read a semantic version.

    Raises:
        ConfigurationError: it is none.
    """
    match = _PATTERN.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ConfigurationError(
            f"version: expected a semantic version such as 1.10.0 or 2.0.0-rc.1, got '{text[:40]}'"
        )
    major, minor, patch, pre, build = match.groups()
    return SemanticVersion(
        major=int(major),
        minor=int(minor),
        patch=int(patch),
        pre=tuple(pre.split(".")) if pre else (),
        build=build or "",
    )


def version_key(text: str) -> tuple[int, Key, str]:
    """Return what to sort texts by; what is no semantic version goes before all that are."""
    try:
        return (1, parse_version(text).key, text)
    except ConfigurationError:
        return (0, (0, 0, 0, 0, ()), text)
