"""Who may change what in a cell with access control on."""

from __future__ import annotations

import pytest
from sax_admin.core.cell import CellState
from sax_admin.core.commands import ModelDraft, Mutation, Publish, Rules, Unpublish, Update, decide
from sax_common.access import Access, AclTable, Principal
from sax_common.errors import InvalidArgument, NotFound, PermissionDenied
from sax_common.names import parse_cell

TABLE = AclTable(lists={"acl/ops": frozenset({"olga"}), "acl/team": frozenset({"tim"})})
RULES = Rules(parse_cell("/sax/test"), "acl/ops")


def _as(name, command, state=None, rules=RULES):
    """Decide a command of a caller known by `name`, with access control on."""
    caller = Access(principal=Principal(name=name) if name else None, table=TABLE)
    mutation = Mutation(command=command, fresh=bytes(16), access=caller)
    return decide(state or CellState(), mutation, rules, sequence=2, unix_ms=0).state


def _draft(**fields):
    given = {"model_id": "/sax/test/m", "model_path": "a.B", "checkpoint_path": "None", **fields}
    return ModelDraft(**given)


def test_publishing_needs_the_cells_admin_list():
    """A member may, anybody else and a stranger may not, whatever list the model would bring."""
    assert _as("olga", Publish(_draft())).models
    for name in ("tim", ""):
        with pytest.raises(PermissionDenied):
            _as(name, Publish(_draft(admin_acl="acl/team")))


def test_a_models_admins_may_change_and_end_it():
    """Update and Unpublish take members of the cell's or of the model's list, and nobody else."""
    state = _as("olga", Publish(_draft(admin_acl="acl/team")))
    for name in ("olga", "tim"):
        assert _as(name, Update(_draft(admin_acl="acl/team", replicas=2)), state).models
        assert not _as(name, Unpublish("/sax/test/m"), state).models
    for command in (Update(_draft()), Unpublish("/sax/test/m")):
        with pytest.raises(PermissionDenied):
            _as("eve", command, state)


def test_a_model_without_a_list_inherits_and_never_lets_everybody_in():
    """The original's failure: a denied caller was let in when the model had no list (0.1, row 11)."""
    state = _as("olga", Publish(_draft()))
    with pytest.raises(PermissionDenied):
        _as("tim", Unpublish("/sax/test/m"), state)
    with pytest.raises(PermissionDenied):
        _as("tim", Unpublish("/sax/test/m"), state, Rules(RULES.cell, ""))


def test_an_update_cannot_bring_the_list_that_allows_it():
    """The list of the model as it is counts, not the one in the request."""
    state = _as("olga", Publish(_draft()))
    with pytest.raises(PermissionDenied):
        _as("tim", Update(_draft(admin_acl="acl/team")), state)


def test_what_is_not_there_is_told_to_the_cells_admins_only():
    """Others cannot find out by asking which models exist."""
    with pytest.raises(NotFound):
        _as("olga", Unpublish("/sax/test/m"))
    with pytest.raises(PermissionDenied):
        _as("tim", Unpublish("/sax/test/m"))


def test_a_list_that_the_file_does_not_define_is_refused():
    """It would have no members; the error names those there are."""
    with pytest.raises(InvalidArgument, match="acl/ops"):
        _as("olga", Publish(_draft(admin_acl="acl/typo")))
    with pytest.raises(InvalidArgument, match="acl/team"):
        _as("olga", Publish(_draft(acls=(("lm.generate", "acl/typo"),))))
    assert _as("olga", Publish(_draft(acls=(("lm.generate", "acl/team"),)))).models


def test_overrides_are_bounded():
    """Sixty-five overrides, or one of five kilobytes, are refused."""
    for overrides in (tuple((f"k{n}", "1") for n in range(65)), (("k", "x" * 5000),)):
        with pytest.raises(InvalidArgument, match="override"):
            _as("olga", Publish(_draft(overrides=overrides)))
