"""Which server gets which model."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sax_admin.core.assignment import Held, Hold, Room, assign, constraints, declared_bytes
from sax_admin.core.cell import ModelSpec, ServerOffer

GIB = 1 << 30


def model(name, *, path="p", replicas=1, ram=None, **overrides):
    """Make a spec; keywords are overrides."""
    if ram is not None:
        overrides["ram"] = str(ram)
    return ModelSpec(
        name=name,
        model_path=path,
        checkpoint_path="None",
        replicas=replicas,
        overrides=tuple(sorted(overrides.items())),
    )


def room(*paths, held=None, chip=12, tags=(), **more):
    """Make a server that offers `paths`."""
    return Room(
        offer=ServerOffer(chip_type=chip, chip_topology=22, model_paths=paths or ("p",), tags=tags),
        held={name: Held(hold) for name, hold in (held or {}).items()},
        **more,
    )


def test_a_server_without_figures_holds_one_model():
    """Without memory figures two models need two servers, as in the original's default assigner."""
    assert assign([model("a"), model("b")], {"s1": room()}, {}) == {"a": ("s1",), "b": ()}


def test_only_servers_that_offer_the_exact_path_are_taken():
    """A path matches as a whole text, never as a prefix or pattern."""
    assert assign([model("a", path="x.Y")], {"s1": room("x.Yz"), "s2": room("x.Y")}, {}) == {"a": ("s2",)}


def test_ram_overrides_put_several_models_on_one_server():
    """Declared needs are packed while they fit: 64 GiB of a CPU server hold three models of 20."""
    models = [model(name, ram=20 * GIB) for name in "abcd"]
    placed = assign(models, {"s1": room()}, {})
    assert [name for name, homes in placed.items() if homes] == ["a", "b", "c"]


def test_an_idle_server_is_taken_before_one_that_shares_its_memory():
    """A model shares a server that reports memory only when no idle one is left."""
    servers = {"s1": room(total_bytes=16 * GIB), "s2": room(total_bytes=16 * GIB)}
    assert assign([model("a"), model("b"), model("c")], servers, {}) == {
        "a": ("s1",),
        "b": ("s2",),
        "c": ("s1",),
    }


def test_memory_used_outside_of_models_is_not_given_away():
    """A server whose process already uses its memory takes one model that declares nothing, but no second."""
    servers = {"s1": room(total_bytes=16 * GIB, used_bytes=15 * GIB)}
    assert assign([model("a"), model("b")], servers, {}) == {"a": ("s1",), "b": ()}
    assert assign([model("a", ram=2 * GIB)], servers, {}) == {"a": ()}


def test_a_model_measured_to_be_larger_than_a_server_is_not_sent_there():
    """What it took on one server is believed about another."""
    big = Room(
        offer=ServerOffer(model_paths=("p",)), total_bytes=64 * GIB, held={"a": Held(Hold.LOADED, 40 * GIB)}
    )
    assert assign([model("a", replicas=2)], {"s1": big, "s2": room(total_bytes=16 * GIB)}, {}) == {
        "a": ("s1",)
    }


def test_constraints_must_be_among_the_tags():
    """Every element of the override `constraints` must be a tag of the server."""
    wanted = model("a", constraints="fast,blue")
    servers = {"s1": room(tags=("fast",)), "s2": room(tags=("blue", "fast", "big"))}
    assert assign([wanted], servers, {}) == {"a": ("s2",)}


def test_lowering_replicas_keeps_the_loaded_ones():
    """When fewer replicas are wanted, what is not loaded goes first."""
    servers = {"s1": room(held={"a": Hold.LOADING}), "s2": room(held={"a": Hold.LOADED})}
    assert assign([model("a", replicas=1)], servers, {}) == {"a": ("s2",)}


def test_a_failed_replica_moves_to_a_server_where_it_has_not_failed():
    """A model that failed on one server is tried on another before it is tried there again."""
    failed = Room(offer=ServerOffer(model_paths=("p",)), held={"a": Held(Hold.FAILED, failed_loads=1)})
    assert assign([model("a")], {"s1": failed, "s2": room()}, {"a": ("s1",)}) == {"a": ("s2",)}
    assert assign([model("a")], {"s1": failed}, {"a": ("s1",)}) == {"a": ("s1",)}


def test_models_take_turns_when_servers_are_short():
    """A greedy model cannot starve another: each gets one server before any gets two."""
    servers = {"s1": room(), "s2": room()}
    assert assign([model("a", replicas=9), model("b")], servers, {}) == {"a": ("s1",), "b": ("s2",)}


def test_a_suspect_server_keeps_what_it_has_and_takes_nothing_new():
    """A server that missed polls is not given more, and its replica is not moved yet."""
    servers = {"s1": room(held={"a": Hold.LOADED}, is_open=False), "s2": room(is_open=False)}
    assert assign([model("a", replicas=2)], servers, {}) == {"a": ("s1",)}


def test_a_hinted_server_that_has_not_joined_keeps_what_it_has_loaded():
    """What a server has loaded speaks for itself before it has said what it offers."""
    hinted = Room(offer=ServerOffer(), held={"a": Held(Hold.LOADED)})
    assert assign([model("a")], {"s1": hinted, "s2": room()}, {}) == {"a": ("s1",)}


@pytest.mark.parametrize(
    ("overrides", "cores", "need"),
    [
        ((), 1, None),
        ((("ram", "7"),), 4, 7),
        ((("ram", "7"), ("ram4", "9")), 4, 9),
        ((("ram8", "9"),), 4, 0),
        ((("ram", "7 GiB"),), 1, None),
    ],
)
def test_declared_memory_follows_the_rules_of_the_original(overrides, cores, need):
    """`ram<N>` counts for N cores, else `ram`, else 0; what is no number is ignored."""
    assert declared_bytes(overrides, cores) == need


def test_constraints_are_comma_separated():
    """Blanks and JSON quotes around constraints do not matter."""
    assert constraints((("constraints", '"a, b"'),)) == {"a", "b"}


MODELS = st.lists(
    st.builds(
        model,
        st.sampled_from("abcdef"),
        path=st.sampled_from(["p", "q"]),
        replicas=st.integers(0, 4),
        ram=st.one_of(st.none(), st.integers(0, 40).map(lambda n: n * GIB)),
    ),
    unique_by=lambda spec: spec.name,
    max_size=6,
)
SERVERS = st.dictionaries(
    st.sampled_from(["s1", "s2", "s3", "s4"]),
    st.builds(
        room,
        st.sampled_from(["p", "q"]),
        total_bytes=st.sampled_from([0, 16 * GIB, 64 * GIB]),
        is_open=st.booleans(),
    ),
)


def loaded_everywhere(placed, servers):
    """The world after every order was obeyed."""
    return {
        address: Room(
            offer=one.offer,
            total_bytes=one.total_bytes,
            is_open=one.is_open,
            held={name: Held(Hold.LOADED) for name, homes in placed.items() if address in homes},
        )
        for address, one in servers.items()
    }


@given(models=MODELS, servers=SERVERS)
@settings(max_examples=200, deadline=None)
def test_placements_are_lawful_and_do_not_depend_on_order(models, servers):
    """Never twice on one server, never too many, never over declared memory, in any input order."""
    placed = assign(models, servers, {})
    assert placed == assign(models[::-1], dict(reversed(servers.items())), {})
    for spec in models:
        homes = placed[spec.name]
        assert len(homes) == len(set(homes)) <= spec.replicas
        assert all(spec.model_path in servers[home].offer.model_paths for home in homes)
    for address, one in servers.items():
        needs = [declared_bytes(spec.overrides, 1) or 0 for spec in models if address in placed[spec.name]]
        assert sum(needs) <= one.capacity()


@given(models=MODELS, servers=SERVERS, extra=st.builds(room, st.sampled_from(["p", "q"])))
@settings(max_examples=200, deadline=None)
def test_placing_again_changes_nothing_and_a_new_server_takes_nothing_away(models, servers, extra):
    """What is loaded stays where it is, also when a server is added."""
    placed = assign(models, servers, {})
    world = loaded_everywhere(placed, servers)
    assert assign(models, world, placed) == placed
    grown = assign(models, {**world, "s9": extra}, placed)
    assert all(set(placed[name]) <= set(grown[name]) for name in placed)
