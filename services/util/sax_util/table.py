"""Draws the tables of saxutil, exactly as the original does (reference/control_plane.md 4). Pure.

    +----------+-------+     column width: the widest line; a cell is at most 30 wide, unless a word is longer
    | GENERATE | SCORE |     header: upper case, centred, an odd space goes to the right
    +----------+-------+
    | a b      |  -0.5 |     numbers to the right, all else to the left
    +----------+-------+

A long cell is wrapped at spaces so that its lines are as even as possible: the sum of the squares of the
blanks at their ends is least, the last line not counted. A cell that had to be wrapped keeps the full 30
columns even when its widest line is shorter, as the original's sample shows.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WRAP_WIDTH = 30
"""Cells are wrapped to this width; the original's table library has it as its default."""

_DECIMAL = re.compile(r"-?(\d{1,3}(,\d{3})*|\d+)(\.\d+)?", re.ASCII)
_LINE_BREAK = re.compile(r"\r?\n")


@dataclass(frozen=True, slots=True)
class _Cell:
    lines: tuple[str, ...]
    width: int
    is_number: bool


def draw(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draw a table that ends with a line feed. Rows may be longer than the header; short ones are filled."""
    columns = max([len(header), *map(len, rows)])
    names = map(title, _filled(header, columns))
    head = [_Cell((name,), display_width(name), is_number=False) for name in names]
    body = [[_cell(text) for text in _filled(row, columns)] for row in rows]
    widths = [max(row[column].width for row in [head, *body]) for column in range(columns)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    lines = [
        rule,
        _joined(_centred(cell.lines[0], width) for cell, width in zip(head, widths, strict=True)),
        rule,
    ]
    for row in body:
        lines.extend(
            _joined(_padded(cell, number, width) for cell, width in zip(row, widths, strict=True))
            for number in range(max(len(cell.lines) for cell in row))
        )
    return "\n".join([*lines, rule]) + "\n"


def csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give the `-csv` form: names after ``# ``, values joined by commas without quoting."""
    return "".join(f"{line}\n" for line in ["# " + ",".join(header), *(",".join(row) for row in rows)])


def title(name: str) -> str:
    """Give a header's printed form: upper case; ``_`` and dots between anything but digits become spaces."""
    shown = re.sub(r"_|(?<![\d\s])\.|\.(?![\d\s])", " ", name).strip() if name else ""
    return shown.upper()


def display_width(text: str) -> int:
    """Count terminal columns: wide East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def wrap(text: str, width: int) -> list[str]:
    """Break `text` at spaces into the least ragged lines of at most `width` columns (or its longest word)."""
    words = text.split(" ")
    sizes = [display_width(word) for word in words]
    limit = max(width, *sizes)
    count = len(words)
    # best[i]: least cost of words[i:], and where its first line ends. From the end, as in Knuth and Plass
    # 1981.
    best: list[tuple[int, int]] = [(0, count)] * (count + 1)
    for start in reversed(range(count)):
        best[start] = _best_line(sizes, start, limit, best)
    lines, start = [], 0
    while start < count:
        end = best[start][1]
        lines.append(" ".join(words[start:end]))
        start = end
    return lines


def _best_line(sizes: list[int], start: int, limit: int, best: list[tuple[int, int]]) -> tuple[int, int]:
    """Choose the end of the line that starts at word `start`; of equal ones the earliest."""
    size, choices = -1, []
    for end in range(start + 1, len(sizes) + 1):
        size += 1 + sizes[end - 1]
        if size > limit:
            break
        if end == len(sizes):
            return 0, end  # The last line is free, so everything that is left fits best.
        choices.append(((limit - size) ** 2 + best[end][0], end))
    return min(choices)


def _cell(text: str) -> _Cell:
    flat = _LINE_BREAK.sub(" ", text.removesuffix("\n"))
    lines = tuple(wrap(flat, WRAP_WIDTH))
    width = max(min(WRAP_WIDTH, display_width(flat)), *map(display_width, lines))
    return _Cell(lines, width, is_number=_DECIMAL.fullmatch(flat.strip()) is not None)


def _filled(cells: Sequence[str], columns: int) -> list[str]:
    return [*cells, *[""] * (columns - len(cells))]


def _centred(text: str, width: int) -> str:
    gap = width - display_width(text)
    return " " * (gap // 2) + text + " " * (gap - gap // 2)


def _padded(cell: _Cell, number: int, width: int) -> str:
    text = cell.lines[number] if number < len(cell.lines) else ""
    blanks = " " * (width - display_width(text))
    return blanks + text if cell.is_number else text + blanks


def _joined(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
