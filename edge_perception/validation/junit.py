"""JUnit XML: a test suite a recording, a test case a kind of difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from edge_perception.validation.result import BagResult

KINDS = (
    "recording",
    "model",
    "parameter",
    "messages",
    "states",
    "frames",
    "timing",
    "objects",
    "events",
    "conditions",
    "limit",
)


def write_junit(results: Sequence[BagResult], path: Path) -> None:
    """Write the verdicts for a CI server."""
    root = ElementTree.Element("testsuites", name="edge-perception validate")
    for result in results:
        seconds = f"{result.account.get('wall_s', 0.0):.3f}"
        suite = ElementTree.SubElement(root, "testsuite", name=result.name, time=seconds)
        failures = 0
        if result.failure:
            case = ElementTree.SubElement(suite, "testcase", classname=result.name, name="replay")
            ElementTree.SubElement(case, "error", message=_clean(result.failure.splitlines()[0]))
        # A kind that is not of every run is a case too, or its failure would be lost.
        others = dict.fromkeys(f.kind for f in result.findings if f.kind not in KINDS)
        for kind in () if result.failure else (*KINDS, *others):
            case = ElementTree.SubElement(suite, "testcase", classname=result.name, name=kind)
            found = [f for f in result.findings if f.kind == kind]
            failed = [f for f in found if f.failed]
            if failed:
                failures += 1
                element = ElementTree.SubElement(case, "failure", message=_clean(failed[0].line()))
                element.text = _clean("\n".join(f.line() for f in failed))
            elif found:
                out = ElementTree.SubElement(case, "system-out")
                out.text = _clean("\n".join(f.line() for f in found))
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(failures))
        suite.set("errors", str(int(bool(result.failure))))
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _clean(text: str) -> str:
    """Leave out characters that XML 1.0 does not allow."""
    return "".join(c for c in text if c in "\t\n\r" or ord(c) >= 0x20)
