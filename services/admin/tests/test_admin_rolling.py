"""A new checkpoint reaches a model without a moment in which nobody serves it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sax_admin.core.cell import CellState, ModelSpec, ServerOffer, digest_of
from sax_admin.core.commands import ModelDraft, Mutation, Publish, Update
from sax_admin.core.reconcile import UnloadBudget, Wanted, orders
from sax_admin.core.rolling import refusal
from sax_admin.core.servers import Report, SeenModel, ServerView, Status
from sax_common.errors import FailedPrecondition

M = "/sax/test/m"
OLD = ModelSpec(name=M, model_path="p", checkpoint_path="one", replicas=2, uuid=b"u" * 16)
NEW = replace(OLD, checkpoint_path="two")
STATE = CellState(models={M: OLD})
GIB = 1 << 30


def server(address, *, status=Status.LOADED, total=0, used=0, spec=OLD, incarnation="run"):
    """Make a server that holds the model."""
    seen = SeenModel(status=status, digest=digest_of(spec), memory_bytes=4 * GIB)
    report = Report(models={M: seen}, incarnation=incarnation, total_bytes=total, used_bytes=used)
    view = ServerView(
        address=address,
        data_address=address,
        offer=ServerOffer(model_paths=("p",)),
        answered_ms=0,
        report=report,
    )
    view.acls_told[M] = ()
    return view


def full(address, **more):
    """Make a server without room for a second copy."""
    return server(address, total=8 * GIB, used=5 * GIB, **more)


def update(*, checkpoint="two", replicas=1, **more):
    """Make an update of the model."""
    draft = ModelDraft(model_id=M, model_path="p", checkpoint_path=checkpoint, replicas=replicas)
    return Mutation(command=Update(draft, **more), fresh=b"", operation_id="op")


def refused(mutation, *views, state=STATE):
    """Ask whether an update may be made while `views` serve."""
    by_address = {view.address: view for view in views}
    return refusal(mutation, state, {M: tuple(by_address)}, by_address, 100)


def ordered(*views, wanted=NEW):
    """Return the servers that are told to reload."""
    placement = {M: tuple(view.address for view in views)}
    what = Wanted(models={M: wanted}, placement=placement, unpublished=(), term=1)
    return [order.server for order in orders(what, views, UnloadBudget(), 100)]


def test_the_only_replica_without_room_beside_it_is_not_updated_unless_downtime_is_accepted():
    """The refusal says what to do; with `allow_downtime` it is the caller's wish."""
    error = refused(update(), full("a"))
    assert isinstance(error, FailedPrecondition)
    assert "allow_downtime" in error.message
    assert refused(update(allow_downtime=True), full("a")) is None


@pytest.mark.parametrize(
    ("mutation", "views"),
    [
        (update(), [server("a", total=16 * GIB, used=5 * GIB)]),
        (update(), [server("a")]),
        (update(), [full("a"), full("b")]),
        (update(checkpoint="one", replicas=3), [full("a")]),
        (update(replicas=0), [full("a")]),
        (update(), [full("a", status=Status.FAILED)]),
        (Mutation(command=Publish(ModelDraft(model_id=M)), fresh=b""), [full("a")]),
    ],
)
def test_an_update_that_takes_nobody_away_is_not_refused(mutation, views):
    """Room beside, other replicas, nothing to reload, nobody who serves, or not an update at all."""
    assert refused(mutation, *views) is None


def test_a_repeated_update_gets_its_first_answer():
    """An operation that was accepted before is not judged again."""
    state = replace(STATE, operations={"op": None})
    assert refused(update(), full("a"), state=state) is None


def test_an_original_server_reloads_in_place_so_its_only_replica_counts_as_downtime():
    """It has no way to load beside."""
    assert refused(update(), server("a", incarnation="")) is not None


def test_replicas_reload_one_after_the_other():
    """Two replicas: one goes, and the other only when the first serves the new version."""
    assert ordered(full("a"), full("b")) == ["a"]
    assert ordered(full("a", status=Status.LOADING), full("b")) == []
    assert ordered(full("a", spec=NEW), full("b")) == ["b"]


def test_the_last_replica_that_serves_does_not_reload_while_another_is_down():
    """A failed replica is brought back with the new version first."""
    broken, last = full("a", status=Status.FAILED), full("b")
    assert ordered(broken, last) == ["a"]


def test_ten_replicas_reload_three_at_a_time():
    """A large model does not take for ever."""
    assert len(ordered(*(full(f"s{number}") for number in range(10)))) == 3
