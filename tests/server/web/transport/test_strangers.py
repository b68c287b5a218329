"""How many connections get in without credentials, and who gives way."""

from contextlib import AsyncExitStack

import pytest

from server.web.transport.limits import ConnectionLimits
from tests.server.conftest import Nodes
from tests.server.peer import bearer, client, socket
from tests.server.raw import HANDSHAKE
from tests.server.web.transport.stranger import CLIENT, KEYS, MODELS, limit, peer, policy
from tests.serving import Served
from tests.waiting import until


async def test_strangers_are_counted_until_they_are_known(nodes: Nodes) -> None:
    async with nodes(api_keys=KEYS) as served, AsyncExitStack() as stack:
        table = policy(served).table
        await stack.enter_async_context(peer(served))
        await until(lambda: len(table) == 1, "a silent one counts")
        await stack.enter_async_context(socket(served, additional_headers=bearer("secret")))
        async with client(served, headers=bearer("secret")) as http:
            ticket = (await http.post("tickets")).json()["ticket"]
            assert len(table) == 1
        await stack.enter_async_context(socket(served, f"?ticket={ticket}"))
        assert len(table) == 1
        refused = await stack.enter_async_context(peer(served, MODELS))
        assert (await refused.answer())[0] == 401
        assert len(table) == 2
        await refused.write(MODELS[:-2] + b"Authorization: Bearer secret\r\n\r\n")
        assert (await refused.answer())[0] == 200
        assert len(table) == 1
    await until(lambda: len(table) == 0, "nobody is left")


async def test_without_keys_a_whole_head_is_enough(served: Served) -> None:
    async with socket(served), client(served) as http, peer(served):
        assert (await http.get("models")).status_code == 200
        await until(lambda: len(policy(served).table) == 1, "only the silent one counts")


async def test_a_refused_handshake_counts_until_its_connection_is_gone(nodes: Nodes) -> None:
    async with nodes(api_keys=KEYS) as served:
        for _ in range(50):
            async with peer(served, b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE + b"\r\n") as each:
                assert (await each.refusal()) == (401, "invalid_api_key")
        await until(lambda: len(policy(served).table) == 0, "nothing is kept")


async def test_a_newcomer_takes_the_place_of_one_that_says_nothing(nodes: Nodes) -> None:
    """As soon as that one has had time for a head; before, the newcomer is told to come again."""
    async with nodes(max_unauthenticated=20) as served, AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(peer(served)) for _ in range(20)]
        async with peer(served) as each:
            assert await each.refusal() == (503, "server_overloaded")
        limit(served, evict_seconds=0.0)
        for _ in range(10):
            async with peer(served, MODELS) as each:
                assert (await each.answer())[0] == 200
        assert await silent[0].refusal() == (503, "server_overloaded")
        async with socket(served) as honest:
            assert (await honest.answer("[tokens=2]"))["status"] == "completed"


async def test_an_idle_stranger_gives_way_too_and_is_told_nothing(nodes: Nodes) -> None:
    """It asked for nothing that an error could be the answer to."""
    async with nodes(api_keys=KEYS, max_unauthenticated=1) as served, peer(served, MODELS) as each:
        assert (await each.answer())[0] == 401
        limit(served, evict_seconds=0.0)
        async with peer(served, MODELS) as other:
            assert (await other.answer())[0] == 401
        assert await each.ended()


async def test_clients_behind_a_proxy_are_told_apart(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """The proxy itself may have any number of connections; one of its clients may not."""
    async with (
        nodes(api_keys=KEYS, trusted_proxies="127.0.0.1", max_unauthenticated_per_address=2) as served,
        AsyncExitStack() as stack,
    ):
        waiting = [await stack.enter_async_context(peer(served)) for _ in range(10)]
        for each in waiting[:2]:
            await each.write(MODELS[:-2] + CLIENT + b"\r\n")
            assert (await each.answer())[0] == 401
        await waiting[2].write(MODELS[:-2] + b"X-Forwarded-For: 1.1.1.1\r\n" + CLIENT + b"\r\n")
        assert await waiting[2].refusal() == (429, "rate_limit_exceeded")
        await waiting[3].write(MODELS[:-2] + b"X-Forwarded-For: 198.51.100.1\r\n\r\n")
        assert (await waiting[3].answer())[0] == 401
        await waiting[4].write(MODELS[:-2] + CLIENT + b"Authorization: Bearer secret\r\n\r\n")
        assert (await waiting[4].answer())[0] == 200
        handshake = b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE + CLIENT
        await waiting[5].write(handshake + b"\r\n")
        assert await waiting[5].refusal() == (429, "rate_limit_exceeded")


async def test_what_a_stranger_says_of_its_address_is_not_believed(nodes: Nodes) -> None:
    async with (
        nodes(api_keys=KEYS, trusted_proxies="10.0.0.0/8", max_unauthenticated_per_address=1) as served,
        AsyncExitStack() as stack,
    ):
        for _ in range(5):
            each = await stack.enter_async_context(peer(served, MODELS[:-2] + CLIENT + b"\r\n"))
            assert (await each.answer())[0] == 401


async def test_many_from_one_network_are_refused(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes(max_unauthenticated_per_address=3) as served, AsyncExitStack() as stack:
        addresses = policy(served).addresses
        monkeypatch.setattr(addresses, "peer_network", lambda peer: "192.0.2.0/24")
        for _ in range(3):
            await stack.enter_async_context(peer(served))
        async with peer(served) as each:
            assert await each.refusal() == (429, "rate_limit_exceeded")


async def test_the_last_descriptors_are_not_for_clients(served: Served) -> None:
    limit(served, probe_descriptors=3)
    async with peer(served) as each:
        assert await each.refusal() == (503, "server_overloaded")
    assert len(policy(served).table) == 0
    limit(served, probe_descriptors=ConnectionLimits().descriptors)
    async with peer(served, MODELS) as each:
        assert (await each.answer())[0] == 200


async def test_a_probe_is_answered_with_one_of_the_last_descriptors(served: Served) -> None:
    """Else whoever looks after the node would end it, and with it all that its clients have open."""
    limit(served, descriptors=3)
    for said in (MODELS, b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE + b"\r\n"):
        async with peer(served, said) as each:
            assert await each.refusal() == (503, "server_overloaded")
    for path in (b"/healthz", b"/readyz?verbose", b"/metrics"):
        async with peer(served, MODELS.replace(b"/v1/models", path)) as each:
            assert (await each.answer())[0] == 200
