"""What is ordered so that what is seen becomes what is wanted."""

from __future__ import annotations

from dataclasses import replace

from sax_admin.core.cell import ModelSpec, ServerOffer, digest_of
from sax_admin.core.reconcile import UnloadBudget, Wanted, orders
from sax_admin.core.servers import OrderKind, Report, SeenModel, ServerView, Status, next_attempt

SPEC = ModelSpec(name="/sax/test/m", model_path="p", checkpoint_path="/one", replicas=1, uuid=b"u")
M = SPEC.name


def view(address="s1", *, status=None, spec=SPEC, incarnation="run", acls=(), **more):
    """Make a server that holds `spec` in `status`."""
    models = {} if status is None else {spec.name: SeenModel(status=status, digest=digest_of(spec))}
    server = ServerView(
        address=address, data_address=address, offer=ServerOffer(model_paths=("p",)), answered_ms=0, **more
    )
    server.report = Report(models=models, incarnation=incarnation)
    server.acls_told = dict.fromkeys(models, acls)
    return server


def step(views, *, placement, models=(SPEC,), unpublished=(), budget=None, now_ms=100_000):
    """Say the orders of one call as (kind, server)."""
    wanted = Wanted(
        models={spec.name: spec for spec in models}, placement=placement, unpublished=unpublished, term=4
    )
    return [
        (order.kind.value, order.server) for order in orders(wanted, views, budget or UnloadBudget(), now_ms)
    ]


def test_an_absent_model_is_loaded_with_term_incarnation_and_digest():
    """A Load carries everything a server needs to refuse a stale one."""
    wanted = Wanted(models={M: SPEC}, placement={M: ("s1",)}, unpublished=(), term=4)
    (order,) = orders(wanted, [view()], UnloadBudget(), 0)
    assert (order.kind, order.term, order.incarnation, order.digest) == (
        OrderKind.LOAD,
        4,
        "run",
        digest_of(SPEC),
    )


def test_nothing_is_ordered_for_what_is_loading_loaded_or_unloading():
    """A model that is on its way or there needs no order."""
    for status in (Status.LOADING, Status.LOADED, Status.UNLOADING):
        assert step([view(status=status)], placement={M: ("s1",)}) == []


def test_nothing_is_ordered_twice_while_an_order_is_under_way():
    """An order under way stands for itself until it ends."""
    server = view()
    wanted = Wanted(models={M: SPEC}, placement={M: ("s1",)}, unpublished=(), term=4)
    (order,) = orders(wanted, [server], UnloadBudget(), 0)
    server.start(order)
    assert step([server], placement={M: ("s1",)}) == []


def test_a_load_waits_until_what_is_not_wanted_has_gone():
    """A server has memory for what it should hold and no more."""
    server = view(status=Status.LOADED, spec=replace(SPEC, name="/sax/test/old"))
    assert step([server], placement={M: ("s1",)}, unpublished=("/sax/test/old",)) == [("unload", "s1")]


def test_a_changed_acl_is_told_without_a_reload():
    """A replica that has not heard of the ACLs is told them and reloads nothing."""
    assert step([view(status=Status.LOADED, acls=(("lm.score", "acl/x"),))], placement={M: ("s1",)}) == [
        ("update_acls", "s1")
    ]


def test_a_changed_checkpoint_is_an_update_and_other_changes_are_a_reload():
    """Only the checkpoint can be replaced in place; a new override needs a new load."""
    server = view(status=Status.LOADED)
    moved = replace(SPEC, checkpoint_path="/two")
    tuned = replace(SPEC, overrides=(("a", "1"),))
    assert step([server], placement={M: ("s1",)}, models=[moved]) == [("update_checkpoint", "s1")]
    assert step([server], placement={M: ("s1",)}, models=[tuned]) == [("unload", "s1")]


def test_a_new_checkpoint_rolls_one_replica_at_a_time():
    """Three replicas do not leave service together."""
    views = [view(address, status=Status.LOADED) for address in ("s1", "s2", "s3")]
    moved = replace(SPEC, checkpoint_path="/two", replicas=3)
    assert step(views, placement={M: ("s1", "s2", "s3")}, models=[moved]) == [("update_checkpoint", "s1")]


def test_a_broken_new_checkpoint_stops_the_roll():
    """While the first replica fails with the new checkpoint the others go on with the old one."""
    moved = replace(SPEC, checkpoint_path="/two", replicas=2)
    broken = view("s1", status=Status.FAILED, spec=moved)
    broken.attempts[M] = next_attempt(None, digest_of(moved), "no such file", 100_000)
    assert step([broken, view("s2", status=Status.LOADED)], placement={M: ("s1", "s2")}, models=[moved]) == []


def test_a_failed_model_is_tried_again_after_its_wait():
    """A failure waits 2 s, then 4 s; then the key is unloaded so that it can be loaded again."""
    server = view(status=Status.FAILED)
    server.attempts[M] = next_attempt(None, digest_of(SPEC), "boom", 100_000)
    assert step([server], placement={M: ("s1",)}, now_ms=101_999) == []
    assert step([server], placement={M: ("s1",)}, now_ms=102_000) == [("unload", "s1")]
    assert next_attempt(server.attempts[M], digest_of(SPEC), "boom", 0).retry_at_ms == 4_000


def test_unknown_models_are_unloaded_no_faster_than_the_guard_allows():
    """Without an explicit unpublish at most 30 % of the loaded replicas go in one round."""
    views = [view(f"s{number}", status=Status.LOADED) for number in range(10)]
    budget = UnloadBudget()
    assert len(step(views, placement={}, models=(), budget=budget)) == 3
    assert step(views, placement={}, models=(), budget=budget, now_ms=105_000) == []
    assert len(step(views, placement={}, models=(), budget=budget, now_ms=110_000)) == 3


def test_an_unpublished_model_is_unloaded_everywhere_at_once():
    """An explicit unpublish is not held back by the guard."""
    views = [view(f"s{number}", status=Status.LOADED) for number in range(10)]
    assert len(step(views, placement={}, models=(), unpublished=(M,))) == 10


def test_a_server_that_offers_nothing_gets_no_orders():
    """Static models on a server that offers no path are left alone."""
    server = view(status=Status.LOADED)
    server.offer = ServerOffer()
    assert step([server], placement={}, models=()) == []


def test_an_original_is_not_told_to_unload_what_it_is_loading():
    """Our servers can stop a load, an original cannot."""
    assert step([view(status=Status.LOADING)], placement={}, models=(), unpublished=(M,)) == [
        ("unload", "s1")
    ]
    original = view(status=Status.LOADING, incarnation="")
    assert step([original], placement={}, models=(), unpublished=(M,)) == []
