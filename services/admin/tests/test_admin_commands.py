"""What mutations do to the state."""

from __future__ import annotations

import pytest
from sax_admin.core.cell import MAX_OPERATIONS, AppliedOperation, CellState, digest_of, same_but_checkpoint
from sax_admin.core.commands import ModelDraft, Mutation, Publish, Rules, Unpublish, Update, decide
from sax_common import errors
from sax_common.names import parse_cell

RULES = Rules(parse_cell("/sax/test"))
GOOD = {"model_id": "/sax/test/m", "model_path": "test.Model", "checkpoint_path": "None", "replicas": 1}


def draft(**changes):
    """Make a legal draft with changes."""
    return ModelDraft(**{**GOOD, **changes})


def apply(state, command, *, sequence=2, rules=RULES, **envelope):
    """Decide one command on `state`."""
    mutation = Mutation(command=command, fresh=b"u" * 16, **envelope)
    return decide(state, mutation, rules, sequence=sequence, unix_ms=7)


def published(**changes):
    """Make a state with one published model."""
    return apply(CellState(), Publish(draft(**changes)), operation_id="first").state


def test_publish_keeps_the_spec_with_a_fresh_uuid_and_generation():
    """A published model carries the uuid that was drawn for it and the number of its record."""
    spec = published().models["/sax/test/m"]
    assert (spec.uuid, spec.generation, spec.replicas) == (b"u" * 16, 2, 1)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model_id": ""}, errors.InvalidArgument),
        ({"model_id": "/sax/other/m"}, errors.InvalidArgument),
        ({"model_id": "/sax/test/M"}, errors.InvalidArgument),
        ({"model_id": "/sax/test/m/"}, errors.InvalidArgument),
        ({"model_path": "9x"}, errors.InvalidArgument),
        ({"checkpoint_path": ""}, errors.InvalidArgument),
        ({"checkpoint_path": "a b"}, errors.InvalidArgument),
        ({"replicas": -1}, errors.InvalidArgument),
        ({"acls": (("lm.unknown", ""),)}, errors.InvalidArgument),
        ({"acls": (("lm.score", "people"),)}, errors.InvalidArgument),
        ({"admin_acl": "people"}, errors.InvalidArgument),
        ({"acls": (("lm.score", "acl/people"),)}, errors.Unimplemented),
        ({"admin_acl": "acl/people"}, errors.Unimplemented),
    ],
)
@pytest.mark.parametrize("kind", [Publish, Update])
def test_a_malformed_model_is_refused_with_the_intended_error(kind, changes, error):
    """Publish and Update refuse each malformed field with the code of the table."""
    with pytest.raises(error):
        apply(published(), kind(draft(**changes)))


def test_publishing_a_published_name_says_already_exists():
    """A name is published once, and the error tells the generation of the one that is there."""
    with pytest.raises(errors.AlreadyExists, match="generation 2"):
        apply(published(), Publish(draft()))


def test_update_replaces_the_spec_and_keeps_the_uuid():
    """An update is a full replacement under the same uuid with a new generation."""
    before = published(overrides=(("a", "1"),))
    after = apply(before, Update(draft(replicas=3)), sequence=9).state.models["/sax/test/m"]
    assert (after.replicas, after.overrides, after.generation) == (3, (), 9)
    assert after.uuid == before.models["/sax/test/m"].uuid


def test_update_may_not_change_the_path_or_meet_an_unknown_model():
    """The path of a model is for ever; a model that is not there cannot be updated."""
    with pytest.raises(errors.InvalidArgument, match="may not change"):
        apply(published(), Update(draft(model_path="other.Model")))
    with pytest.raises(errors.NotFound):
        apply(CellState(), Update(draft()))


def test_update_of_another_generation_is_aborted():
    """An update that expects an older generation loses nothing of the newer one."""
    with pytest.raises(errors.Aborted, match="generation 2, not 1"):
        apply(published(), Update(draft(), expected_generation=1))


def test_unpublish_removes_the_model_and_only_once():
    """After an unpublish the name is free, and a second one finds nothing."""
    state = apply(published(), Unpublish("/sax/test/m")).state
    assert state.models == {}
    with pytest.raises(errors.NotFound):
        apply(state, Unpublish("/sax/test/m"))


def test_the_same_operation_is_applied_once_and_answered_twice():
    """A repeated operation id answers the first record number, even when the model has gone since."""
    state = apply(published(), Unpublish("/sax/test/m"), sequence=3).state
    again = apply(state, Publish(draft()), sequence=4, operation_id="first")
    assert (again.is_new, again.sequence, again.state) == (False, 2, state)


def test_a_retry_older_than_what_is_remembered_is_refused():
    """An operation that may be older than the remembered ones is not guessed at."""
    operations = {
        f"o{number}": AppliedOperation(
            operation_id=f"o{number}", sequence=100, kind="update", model=None, client="", unix_ms=0
        )
        for number in range(MAX_OPERATIONS)
    }
    state = CellState(operations=operations)
    with pytest.raises(errors.FailedPrecondition, match="read the model again"):
        apply(state, Publish(draft()), operation_id="first", last_seen_sequence=1)


def test_a_closed_admin_acl_denies_changes():
    """With an admin ACL that nobody is known to be on, changes are denied."""
    rules = Rules(RULES.cell, "acl/admins")
    with pytest.raises(errors.PermissionDenied, match="acl/admins"):
        apply(CellState(), Publish(draft()), rules=rules)


def test_a_digest_tells_what_must_be_loaded_again():
    """Replicas and ACLs do not change the digest; the checkpoint changes one half, the rest the other."""
    spec = published().models["/sax/test/m"]
    same = apply(published(), Update(draft(replicas=5))).state.models["/sax/test/m"]
    moved = apply(published(), Update(draft(checkpoint_path="/new"))).state.models["/sax/test/m"]
    tuned = apply(published(), Update(draft(overrides=(("a", "1"),)))).state.models["/sax/test/m"]
    assert digest_of(same) == digest_of(spec)
    assert same_but_checkpoint(digest_of(spec), digest_of(moved))
    assert not same_but_checkpoint(digest_of(spec), digest_of(tuned))
