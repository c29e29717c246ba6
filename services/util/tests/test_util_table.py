from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st
from sax_util import table
from sax_util.context import number

DETAILS = """\
+-------+-------------------------------------------------------+-----------------+---------------+---------------------------+-----------------------+
| MODEL |                      MODEL PATH                       | CHECKPOINT PATH | # OF REPLICAS | (SELECTED) REPLICAADDRESS |        METHODS        |
+-------+-------------------------------------------------------+-----------------+---------------+---------------------------+-----------------------+
| lm2b  | saxml.server.pax.lm.params.lm_cloud.LmCloudSpmd2BTest | None            |             1 | 10.0.0.5:10001            | lm.generate, lm.score |
+-------+-------------------------------------------------------+-----------------+---------------+---------------------------+-----------------------+
"""  # noqa: E501 - a golden table
EMPTY = """\
+--------+-----+
| METHOD | ACL |
+--------+-----+
+--------+-----+
"""
CELL = """\
+---+----------+
| # | MODEL ID |
+---+----------+
| 0 | gptj     |
| 1 | lm2b     |
+---+----------+
"""
GENERATE = """\
+--------------------------------+------------+
|            GENERATE            |   SCORE    |
+--------------------------------+------------+
| Harry Potter's mother is       | -8.1234567 |
| Lily Potter, a witch who died  |            |
| protecting him.                |            |
| x y                            |       -0.5 |
+--------------------------------+------------+
"""


def test_details_of_a_model():
    """The first sample of the reference is drawn exactly."""
    header = [
        "Model",
        "Model Path",
        "Checkpoint Path",
        "# of Replicas",
        "(Selected) ReplicaAddress",
        "Methods",
    ]
    path = "saxml.server.pax.lm.params.lm_cloud.LmCloudSpmd2BTest"
    assert (
        table.draw(header, [["lm2b", path, "None", "1", "10.0.0.5:10001", "lm.generate, lm.score"]])
        == DETAILS
    )


def test_no_rows():
    """A table without rows has two rules at its end."""
    assert table.draw(["Method", "ACL"], []) == EMPTY


def test_models_of_a_cell():
    """The sample of a cell is drawn exactly."""
    assert table.draw(["#", "Model ID"], [["0", "gptj"], ["1", "lm2b"]]) == CELL


def test_wrapped_text_and_scores():
    """The sample with a wrapped text and a line feed inside a cell is drawn exactly."""
    text = "Harry Potter's mother is Lily Potter, a witch who died protecting him."
    assert table.draw(["Generate", "Score"], [[text, "-8.1234567"], ["x\ny", "-0.5"]]) == GENERATE


def test_rows_longer_than_the_header():
    """Two suffixes of lm.score give one empty column, as in the original."""
    drawn = table.draw(["Suffix", "Score"], [["a", "-1", ""], ["b", "-2", ""]])
    assert drawn.splitlines()[1:4] == [
        "| SUFFIX | SCORE |  |",
        "+--------+-------+--+",
        "| a      |    -1 |  |",
    ]


def test_exponents_are_text():
    """A score in exponent form is not a plain number and stays on the left."""
    assert table.draw(["Score"], [["1E-05"], ["1,234.5"]]).splitlines()[3:5] == ["| 1E-05   |", "| 1,234.5 |"]


def test_wide_characters():
    """East Asian characters take two columns."""
    assert table.draw(["A"], [["東京"], ["abc"]]).splitlines()[3:5] == ["| 東京 |", "| abc  |"]


def test_headers():
    """Underscores and dots become spaces, but not the dot of a number."""
    assert [table.title(name) for name in ["a_b", "lm.score", "v1.5"]] == ["A B", "LM SCORE", "V1.5"]


def test_csv():
    """The -csv form has a commented header and no quoting."""
    assert table.csv(["#", "Model ID"], [["0", "a,b"]]) == "# #,Model ID\n0,a,b\n"


def test_numbers():
    """Scores are printed as C's %.8G."""
    assert [number(value) for value in (-8.12345678, -0.5, 1e-5, 0.0, 123456789.0)] == [
        "-8.1234568", "-0.5", "1E-05", "0", "1.2345679E+08",
    ]  # fmt: skip


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=7), st.integers(9, 20))
def test_wrapping_is_least_ragged(words, width):
    """No other way to break the lines has a smaller sum of squared blanks, the last line not counted."""

    def cost(lines: list[str]) -> int:
        return sum((width - len(line)) ** 2 for line in lines[:-1])

    def broken(breaks: tuple[int, ...]) -> list[str]:
        edges = [0, *breaks, len(words)]
        return [" ".join(words[a:b]) for a, b in pairwise(edges)]

    lines = table.wrap(" ".join(words), width)
    every = (
        broken(breaks) for count in range(len(words)) for breaks in combinations(range(1, len(words)), count)
    )
    legal = [other for other in every if all(len(line) <= width for line in other)]
    assert " ".join(lines) == " ".join(words)
    assert all(len(line) <= width for line in lines)
    # Among those that put everything into one line when it fits, as the original does.
    assert cost(lines) == min(map(cost, legal))


@given(st.lists(st.lists(st.text(max_size=60), min_size=1, max_size=3), max_size=4))
def test_every_line_has_the_same_width(rows):
    """Whatever the cells hold, the table is a rectangle."""
    clean = [
        [cell.translate(dict.fromkeys((9, 11, 12, 28, 29, 30, 133), " ")) for cell in row] for row in rows
    ]
    lines = table.draw(["A"], clean).removesuffix("\n").split("\n")
    assert len({table.display_width(line) for line in lines}) == 1
