"""Whose connection it is: the network of a peer, or of the client that a trusted proxy names."""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_HOPS = 32  # entries of X-Forwarded-For that are looked at, from the last one: each costs a few microseconds
PREFIXES = {4: 24, 6: 64}  # bits of an address that one client may be taken to own


class ClientAddresses:
    """Finds the network that a connection or a request is counted to. Decides, and does no I/O.

    None means that nothing is counted: loopback, trusted proxies themselves, and peers without an address.
    """

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        """`trusted` are addresses and networks of proxies. Raises ValueError for what is neither."""
        self._trusted = tuple(ipaddress.ip_network(each, strict=False) for each in trusted)

    def is_proxy(self, peer: str | None) -> bool:
        """Whether what this peer says of its clients is believed."""
        address = parse(peer or "") if self._trusted else None
        return address is not None and self._is_trusted(address)

    def peer_network(self, peer: str | None) -> str | None:
        """What a connection is counted to until its first head has come."""
        address = parse(peer or "")
        return None if address is None or self._is_trusted(address) else network_of(address)

    def client_network(self, forwarded: Iterable[bytes]) -> str | None:
        """What a proxy's request is counted to: the last entry of X-Forwarded-For that is no trusted proxy itself.

        Everything before that entry was written by the client, and is not looked at.
        """
        for hop, entry in enumerate(_from_the_last(list(forwarded))):
            address = parse(entry) if hop < MAX_HOPS else None
            if address is None:
                return None
            if not self._is_trusted(address):
                return network_of(address)
        return None

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def parse(text: str) -> Address | None:
    """An address, also with a port or a zone, as proxies write it; None for anything else."""
    text = text.strip().partition("%")[0]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def network_of(address: Address) -> str | None:
    """The /24 of an IPv4 address or the /64 of an IPv6 one, which its holder can choose from; None for loopback."""
    if address.is_loopback:
        return None
    return str(ipaddress.ip_network((address, PREFIXES[address.version]), strict=False))


def _from_the_last(headers: Sequence[bytes]) -> Iterator[str]:
    """The entries of a header that may be repeated. Without splitting more than is looked at."""
    for value in reversed(headers):
        rest = value.decode("latin-1")
        while rest:
            rest, _, entry = rest.rpartition(",")
            yield entry
