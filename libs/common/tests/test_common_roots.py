import pytest
from hypothesis import given
from hypothesis import strategies as st
from sax_common import names, roots
from sax_common.store.port import check_name, check_prefix

CELL = names.parse_cell("/sax/test")


def test_flag_beats_environment():
    """The flag wins, then SAX_ROOT; an empty value counts as none."""
    assert roots.find_sax_root("/flag", {"SAX_ROOT": "/env"}) == "/flag"
    assert roots.find_sax_root("", {"SAX_ROOT": "/env"}) == "/env"


@pytest.mark.parametrize("environ", [{}, {"SAX_ROOT": ""}])
def test_missing_root_is_one_sentence(environ):
    """The message says both ways to give the root."""
    with pytest.raises(roots.MissingRoot) as caught:
        roots.find_sax_root(None, environ)
    assert "--sax_root" in caught.value.message
    assert "SAX_ROOT" in caught.value.message
    assert caught.value.message.count(". ") == 0


def test_layout_is_that_of_the_original():
    """Programs of the original find the files that they share with us."""
    assert roots.config_name(CELL) == "sax/test/config.proto"
    assert roots.location_name(CELL) == "sax/test/location.proto"
    assert roots.original_state_name(CELL) == "sax/test/state.proto"
    assert roots.marker_name(CELL) == "sax/test/METADATA"


@given(st.integers(0, 10**20 - 1), st.integers(0, 10**20 - 1))
def test_slot_names_sort_as_numbers(one, other):
    """Names are legal, give their number back, and sort as the numbers do."""
    name = check_name(roots.state_name(CELL, one))
    assert roots.slot_of(name) == one
    assert (name < roots.state_name(CELL, other)) == (one < other)
    assert name.startswith(check_prefix(roots.state_prefix(CELL)))


@pytest.mark.parametrize("slot", [-1, 10**20])
def test_impossible_slots_are_refused(slot):
    """A slot that does not fit in the name is a programming error."""
    with pytest.raises(ValueError, match="slot"):
        roots.state_name(CELL, slot)


def test_other_names_are_no_slots():
    """The lease and the original's state are not records."""
    assert roots.slot_of(roots.lease_name(CELL)) is None
    assert roots.slot_of("sax/test/state/12") is None
