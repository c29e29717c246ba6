"""HTML of the status pages: one document, tables that become cards on a phone, nothing from outside.

Every text is escaped here, on its way into a cell; only `Safe` text, made by the functions of this module,
is not. The pages carry no script and load nothing, and the header says so to the browser, so that even a
text that slipped through could do nothing.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--bad:#c22;--wait:#a60;--good:#2a7}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;padding:1rem;max-width:110rem}
h1{font-size:1.35rem;margin:.2rem 0}h2{font-size:1.05rem;margin:1.4rem 0 .4rem}p{margin:.3rem 0}
a{color:inherit}nav{font-size:.9rem}
dl{display:flex;flex-wrap:wrap;gap:.5rem;margin:.6rem 0}
dl div{background:var(--soft);border-radius:.4rem;padding:.3rem .7rem}
dt{font-size:.75rem;opacity:.75}dd{margin:0;font-weight:600}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}.long,p{overflow-wrap:anywhere}.long{min-width:14rem}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{background:var(--soft);font-size:.8rem;white-space:nowrap}td.number{text-align:right;font-variant-numeric:tabular-nums}
.bad{color:var(--bad)}.wait{color:var(--wait)}.good{color:var(--good)}.none{opacity:.6}
@media(max-width:60rem){body{overflow-wrap:anywhere}
thead{display:none}tr{display:block;border:1px solid var(--line);border-radius:.5rem;margin:.5rem 0}
td,td.number{display:flex;justify-content:space-between;gap:1rem;text-align:right;border:0}
.long{min-width:0}td:empty{display:none}td::before{content:attr(data-name);font-size:.8rem;opacity:.75;text-align:left;flex:none}
}
"""
# Texts longer than this may be broken anywhere; shorter ones keep their words.
LONG = 40
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Safe(str):
    """HTML that may go into a page as it is."""

    __slots__ = ()


class Lines(Safe):
    """HTML of several texts, one below the other, which may be long."""

    __slots__ = ()


class Number(str):
    """A number, set to the right; escaped like any text."""

    __slots__ = ()


Text = str | Safe | Number


def html(text: Text) -> str:
    """Return the HTML of a text: escaped, unless it was made here."""
    return text if isinstance(text, Safe) else escape(text)


def link(path: str, text: str) -> Safe:
    """Link to another page of this server."""
    return Safe(f'<a href="{escape(quote(path, safe="/:[]"))}">{escape(text)}</a>')


def marked(kind: str, text: str) -> Safe:
    """Colour a text: `good`, `wait`, `bad` or `none`; the words say it too."""
    return Safe(f'<span class="{kind}">{escape(text)}</span>')


def joined(parts: Sequence[Text]) -> Lines:
    """Set texts one below the other."""
    return Lines("<br>".join(html(part) for part in parts))


def facts(pairs: Sequence[tuple[str, Text]]) -> Safe:
    """Show a few facts side by side."""
    inner = "".join(f"<div><dt>{escape(name)}</dt><dd>{html(value)}</dd></div>" for name, value in pairs)
    return Safe(f"<dl>{inner}</dl>")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Text]], empty: str = "None.") -> Safe:
    """Show rows under a title; a sentence when there are none."""
    if not rows:
        return Safe(f"<h2>{escape(title)}</h2><p class=none>{escape(empty)}</p>")
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(_cell(*pair) for pair in zip(columns, row, strict=True)) + "</tr>" for row in rows
    )
    rows_html = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return Safe(f"<h2>{escape(title)}</h2><div class=wide>{rows_html}</div>")


def _cell(column: str, text: Text) -> str:
    kind = " class=number" if isinstance(text, Number) else " class=long" if _is_long(text) else ""
    # The span keeps a value of several parts together where the cell is a row of its own (phones).
    inner = html(text) and f"<span>{html(text)}</span>"
    return f'<td{kind} data-name="{escape(column)}">{inner}</td>'


def _is_long(text: Text) -> bool:
    # Of what is made here only joined texts are; links and marks look longer than they are.
    return len(text) > LONG and (isinstance(text, Lines) or not isinstance(text, Safe))


def page(title: str, *parts: Text, code: int = 200) -> HTMLResponse:
    """Put a page together."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="robots" content="noindex"><title>{escape(title)}</title><style>{STYLE}</style>'
    )
    body = f"<h1>{escape(title)}</h1>{''.join(html(part) for part in parts)}"
    text = f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'
    return HTMLResponse(text, status_code=code, headers=HEADERS)
