"""The health table and the address rules: values in, values out."""

import asyncio

import pytest
from sax_common.errors import FailedPrecondition, InvalidArgument
from sax_runtime import addresses
from sax_runtime.health import Condition, Health
from sax_runtime.ports import PortUnavailable, listen_socket


def test_a_process_begins_not_ready():
    """Before anybody says otherwise the reason is that it is starting."""
    health = Health()
    assert (health.is_ready, health.reason) == (False, "starting")


def test_only_the_whole_process_decides_readiness():
    """A model that fails does not take the process out of rotation."""
    health = Health()
    health.set("", serving=True)
    health.set("model:/sax/t/m", serving=False, reason="loading")
    assert (health.is_ready, health.reason) == (True, "")
    assert health.condition("model:/sax/t/m") == Condition(serving=False, reason="loading")


def test_draining_is_final():
    """Once draining nothing turns serving again."""
    health = Health()
    health.set("", serving=True)
    health.drain("bye")
    health.set("", serving=True)
    assert (health.is_ready, health.reason) == (False, "bye")


async def test_no_change_is_missed_between_reading_and_waiting():
    """Whoever takes the event before reading sees a change that comes right after."""
    health = Health()
    change = health.next_change()
    health.set("", serving=True)
    async with asyncio.timeout(1):
        await change.wait()
    assert not health.next_change().is_set()


def test_saying_the_same_again_wakes_nobody():
    """Only a difference is a change."""
    health = Health()
    health.set("a", serving=True)
    change = health.next_change()
    health.set("a", serving=True)
    health.remove("never set")
    assert not change.is_set()


@pytest.mark.parametrize(
    ("host", "written"), [("10.0.0.1", "10.0.0.1:7"), ("fe80::1", "[fe80::1]:7"), ("[::1]", "[::1]:7")]
)
def test_host_and_port_are_joined_with_brackets_for_ipv6(host, written):
    """IPv6 hosts get brackets, once."""
    assert addresses.join_host_port(host, 7) == written
    assert addresses.split_host_port(written) == (host.strip("[]"), 7)


@pytest.mark.parametrize("text", ["localhost", "a:70000", "a:x", "::1:80", "a:-1", "a:", "a:²"])
def test_addresses_without_a_legal_port_are_refused(text):
    """A missing or impossible port, or IPv6 without brackets, is INVALID_ARGUMENT."""
    with pytest.raises(InvalidArgument):
        addresses.split_host_port(text)


@pytest.mark.parametrize("rule", ["host_name", "interface"])
def test_the_debug_variable_means_loopback(rule):
    """SAX_DEBUG_IPADDR=1 makes both programs name 127.0.0.1."""
    found = addresses.my_address(10000, rule=rule, environ={"SAX_DEBUG_IPADDR": "1"})
    assert found == "127.0.0.1:10000"


def test_addresses_that_others_cannot_use_are_passed_over():
    """Loopback, link-local, unique-local IPv6 and nonsense are skipped; private IPv4 is fine."""
    unusable = ["127.0.1.1", "::1", "fe80::1", "fd00::1", "0.0.0.0", "x"]  # noqa: S104
    assert addresses.first_usable(unusable) is None
    assert addresses.first_usable([*unusable, "10.1.2.3"]) == "10.1.2.3"
    assert addresses.first_usable(["2001:db8::1"]) == "2001:db8::1"


def test_a_machine_without_network_is_told_what_to_do(monkeypatch):
    """The admin refuses to name loopback by itself; a model server falls back to `localhost`."""
    monkeypatch.setattr(addresses, "_interface_addresses", list)
    monkeypatch.setattr(addresses, "_host_name_addresses", list)
    assert addresses.my_address(1, environ={}) == "localhost:1"
    with pytest.raises(FailedPrecondition, match="SAX_DEBUG_IPADDR=1"):
        addresses.my_address(1, rule="interface", environ={})


def test_this_machine_has_interfaces_or_none_that_are_malformed():
    """What the interfaces report is always an address."""
    for text in addresses._interface_addresses():
        assert addresses.first_usable([text]) in (text, None)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("::", False), ("example.org", False)],
)
def test_loopback_is_recognised(host, is_local):
    """A wildcard or a name is not loopback."""
    assert addresses.is_loopback(host) is is_local


def test_an_address_of_another_machine_is_explained():
    """Binding an address that is not ours says so."""
    with pytest.raises(PortUnavailable, match=r"192\.0\.2\.1.*no such address"):
        listen_socket("192.0.2.1:0", purpose="a test")
