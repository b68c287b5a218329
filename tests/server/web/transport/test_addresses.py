"""Which network a connection or a request is counted to."""

import time

import pytest

from server.web.transport.addresses import ClientAddresses


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("192.0.2.255", "192.0.2.0/24"),
        ("192.0.3.7", "192.0.3.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", None),
        ("127.9.9.9", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("", None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_the_network_of_a_peer(peer: str | None, network: str | None) -> None:
    assert ClientAddresses().peer_network(peer) == network


TRUSTED = ("10.0.0.0/8", "203.0.113.9", "fd00::/8")


@pytest.mark.parametrize(
    ("peer", "is_proxy"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("203.0.113.9", True),
        ("fd00::1", True),
        ("203.0.113.10", False),
        ("127.0.0.1", False),
        (None, False),
    ],
)
def test_a_proxy_is_one_that_is_named(peer: str | None, is_proxy: bool) -> None:
    addresses = ClientAddresses(TRUSTED)
    assert addresses.is_proxy(peer) == is_proxy
    if is_proxy:
        assert addresses.peer_network(peer) is None
        assert not ClientAddresses().is_proxy(peer)


FORWARDED: list[tuple[list[bytes], str | None]] = [
    ([b"192.0.2.7"], "192.0.2.0/24"),
    ([b"192.0.2.7:4711"], "192.0.2.0/24"),
    ([b"2001:db8::1"], "2001:db8::/64"),
    ([b"[2001:db8::1]:4711"], "2001:db8::/64"),
    ([b"1.1.1.1, 192.0.2.7"], "192.0.2.0/24"),  # the first is what the client claims
    ([b"192.0.2.7, 10.0.0.1,10.0.0.2"], "192.0.2.0/24"),
    ([b"1.1.1.1", b"192.0.2.7, 10.0.0.1"], "192.0.2.0/24"),
    ([b"192.0.2.7", b"10.0.0.1"], "192.0.2.0/24"),
    ([b"10.0.0.1"], None),
    ([b"127.0.0.1"], None),
    ([b"192.0.2.7, unknown"], None),
    ([b"192.0.2.7, \xff\xfe"], None),
    ([b""], None),
    ([b","], None),
    ([], None),
]


@pytest.mark.parametrize(("headers", "network"), FORWARDED)
def test_a_proxy_names_its_client(headers: list[bytes], network: str | None) -> None:
    assert ClientAddresses(TRUSTED).client_network(headers) == network


def test_a_long_list_costs_little() -> None:
    """Each entry that is trusted is looked up, and a header may hold thousands."""
    began = time.thread_time()
    assert ClientAddresses(TRUSTED).client_network([b"192.0.2.7," + b"10.0.0.1," * 3000 + b"10.0.0.1"]) is None
    assert time.thread_time() - began < 0.05


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        ClientAddresses(("nonsense",))
