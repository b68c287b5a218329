"""What somebody else left in Redis: it is passed over alone, logged and counted once, and nothing else suffers."""

import pytest
from structlog.testing import capture_logs

from server.store.redis.client import Client
from server.store.redis.keys import Keys
from server.store.redis.store import connect
from server.store.types import WriteStatus
from server.telemetry.unreadable import UnreadableRecords
from tests.redis_server import Server
from tests.server.store.conftest import redis7, redis62, server
from tests.server.store.make import ALICE, append, new, ref

__all__ = ["redis7", "redis62", "server"]

pytestmark = pytest.mark.redis
HUGE = "9" * 5000
ROWS = ["", "x", "-1 {}", f"{HUGE} {{}}", "99999999999999999999 {}", "1.5 {}", "nan {}", b"\xff\xfe {}", "5"]
FIELDS = [
    ("top", "x"),
    ("top", HUGE),
    ("top", "-7"),
    ("created", "nan"),
    ("created", "-inf"),
    ("created", "1e300"),
    ("created", b"\xff"),
    ("renewed", "soon"),
    ("status", "merry"),
    ("lease", "x:somebody"),
    ("lease", "-3:somebody"),
    ("caller", b"\xff\xfe"),
    ("claims", "many"),
    ("looked", "-1"),
]


async def emptied(server: Server) -> Client:
    admin = Client(server.url)
    await admin.call("FLUSHALL")
    return admin


@pytest.mark.parametrize("row", ROWS)
async def test_a_row_of_the_beats_that_makes_no_sense(server: Server, row: str | bytes) -> None:
    admin = await emptied(server)
    counted: list[str] = []
    store = connect(server.url, unreadable=UnreadableRecords(counted.append))
    with capture_logs() as lines:
        for name in ("other", b"\xff\xfe", "me"):
            await admin.call("HSET", Keys.nodes(), name, row)
        await store.beat("me", b"{}")
        snapshot = await store.beat("me", b"{}")
    assert snapshot.counts["me"] in {2, 3, 7}  # it goes on from digits, where there are some
    assert snapshot.nodes["me"] == b"{}"
    assert snapshot.counts["other"] == -1
    assert counted.count("node") == len([line for line in lines if line["event"] == "record_unreadable"]) == 2
    await store.retire("other", -1)
    assert "other" not in (await store.beat("me", b"{}")).counts
    await store.close()
    await admin.close()


@pytest.mark.parametrize("key", [Keys.nodes(), Keys.notifications("me")])
async def test_a_registry_key_of_another_type(server: Server, key: str) -> None:
    admin = await emptied(server)
    counted: list[str] = []
    store = connect(server.url, unreadable=UnreadableRecords(counted.append))
    await admin.call("SET", key, "a text")
    assert (await store.beat("me", b"{}")).counts == {"me": 1}
    assert counted == ["key"]
    await store.close()
    await admin.close()


@pytest.mark.parametrize("message", ["", "alone", b"\xff \xff"])
async def test_a_notification_that_names_no_turn(server: Server, message: str | bytes) -> None:
    admin = await emptied(server)
    store = connect(server.url)
    await admin.call("RPUSH", Keys.notifications("me"), message, "alice resp_1")
    assert (await store.beat("me", b"{}")).notifications == (ref(),)
    await store.close()
    await admin.close()


@pytest.mark.parametrize(("field", "value"), FIELDS)
async def test_an_unfinished_turn_with_a_field_that_makes_no_sense(
    server: Server, field: str, value: str | bytes
) -> None:
    admin = await emptied(server)
    counted: list[str] = []
    store = connect(server.url, unreadable=UnreadableRecords(counted.append))
    await store.create(new())
    await store.create(new("resp_2"))
    await admin.call("HSET", Keys().turn(ALICE, "resp_1"), field, value)
    for _ in range(2):
        found = {turn.ref.id for turn in await store.unfinished_turns(0)}
        assert found - {"resp_1"} == {"resp_2"}
    if field != "renewed":  # that one is written anew
        assert (found, counted) == ({"resp_2"}, ["turn"])
    await store.close()
    await admin.close()


@pytest.mark.parametrize("member", ["", "nobody", b"\xff\xfe:\xff", "no:body"])
async def test_a_member_that_is_no_turn_and_one_of_another_type(server: Server, member: str | bytes) -> None:
    admin = await emptied(server)
    store = connect(server.url)
    await store.create(new())
    await admin.call("SADD", Keys.unfinished(0), member)
    prefix = Keys.turn_prefix(0).encode()
    await admin.call("SET", prefix + (member.encode() if isinstance(member, str) else member), "a text")
    assert [turn.ref.id for turn in await store.unfinished_turns(0)] == ["resp_1"]
    await store.close()
    await admin.close()


async def test_a_history_that_goes_round_does_not_hold_up_redis(server: Server) -> None:
    admin = await emptied(server)
    store = connect(server.url)
    await store.create(new())
    await admin.call("HSET", Keys().segment(ALICE, "round"), "parent", "round", "users", "9")
    await admin.call("HSET", Keys().turn(ALICE, "resp_1"), "parent", "round", "renewed", "0")
    assert len(await store.unfinished_turns(0)) == 1
    await admin.call("FLUSHALL")
    await store.close()
    await admin.close()


async def test_one_damaged_turn_of_a_batch_costs_only_itself(server: Server) -> None:
    admin = await emptied(server)
    store = connect(server.url)
    await store.create(new())
    await store.create(new("resp_2"))
    await admin.call("HSET", Keys().turn(ALICE, "resp_1"), "top", "x", "lease", "y:z")
    bad, good = await store.append([append(), append("resp_2")])
    assert (bad.status, good.status) == (WriteStatus.BROKEN, WriteStatus.OK)
    await store.close()
    await admin.close()
