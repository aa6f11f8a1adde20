"""Pages of HTML that need no network, with drawings as inline SVG."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from edge_perception.core.picture_style import INK, MUTED
from edge_perception.core.whole_file import write_whole

COLORS = ("#1d6fb8", "#d97706", "#2f9e5b", "#b8487a", "#7a5ad6", "#0f9aa8", "#7b8794", "#b42318")
_STYLE = f"""
body{{font:14px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1240px;padding:20px;color:{INK}}}
h1{{font-size:22px}}h2{{font-size:17px;margin-top:28px}}p{{max-width:900px}}
.grid{{display:grid;grid-template-columns:repeat(auto-fill,minmax(380px,1fr));gap:14px}}
.grid>*{{border:1px solid #e4e7eb;border-radius:6px;padding:8px;min-width:0}}
svg{{width:100%;height:auto}}table{{border-collapse:collapse}}.found{{color:#b42318}}
td,th{{padding:2px 14px 2px 0;text-align:left;vertical-align:top}}
th{{color:{MUTED};font-weight:500}}
"""


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element; the same figure gives the same text."""
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "edge_perception", "svg.fonttype": "none", "font.size": 8}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = buffer.getvalue()
    return re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>", "", text, flags=re.DOTALL).strip()


def text(words: object) -> str:
    """Return words as they stand in HTML."""
    return html.escape(str(words))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of plain words."""
    lines = ["<table><tr>" + "".join(f"<th>{text(name)}</th>" for name in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """Write a page; it appears whole or not at all."""
    page = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{text(title)}</title><style>{_STYLE}</style><h1>{text(title)}</h1>",
        *parts,
    ]
    write_whole(path, ("\n".join(page) + "\n").encode())
