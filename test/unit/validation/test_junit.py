"""The verdict for a CI server: no failed finding is lost, whatever its kind."""

from xml.etree import ElementTree

import pytest

from edge_perception.validation.findings import Finding
from edge_perception.validation.junit import write_junit
from edge_perception.validation.result import BagResult
from edge_perception.validation.settings import ReplaySettings


def suite(tmp_path, *findings):
    result = BagResult(name="bag", settings=ReplaySettings(bag="bag.mcap"), folder=tmp_path)
    result.findings += findings
    write_junit([result], tmp_path / "junit.xml")
    (found,) = ElementTree.parse(tmp_path / "junit.xml").getroot()
    return found


@pytest.mark.parametrize("kind", ["labels", "live", "objects", "a kind of tomorrow"])
def test_a_failed_finding_of_any_kind_is_a_failure(tmp_path, kind):
    found = suite(tmp_path, Finding(kind=kind, text="wrong"))
    assert found.get("failures") == "1"
    (case,) = (c for c in found if c.get("name") == kind)
    assert case.find("failure").get("message") == f"{kind}: wrong"


def test_what_is_noted_is_no_failure(tmp_path):
    found = suite(tmp_path, Finding(kind="note", text="replayed with fog", failed=False))
    assert found.get("failures") == "0"
    (case,) = (c for c in found if c.get("name") == "note")
    assert "fog" in case.find("system-out").text
