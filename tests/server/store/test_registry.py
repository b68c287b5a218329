"""The contract of every node registry."""

from server.store.contracts import Store
from server.store.types import TurnRef
from tests.server.store.make import ref


async def test_each_beat_counts_up_and_reads_all(store: Store) -> None:
    assert (await store.beat("a", b"ready 1")).counts == {"a": 1}
    assert (await store.beat("b", b"x")).counts == {"a": 1, "b": 1}
    snapshot = await store.beat("a", b"full 0")
    assert (snapshot.counts, snapshot.nodes, snapshot.notifications) == (
        {"a": 2, "b": 1},
        {"a": b"full 0", "b": b"x"},
        (),
    )


async def test_the_beats_of_one_process_can_be_read_without_beating(store: Store) -> None:
    await store.beat("a", b"ready 1")
    await store.beat("a", b"ready 1")
    assert (await store.beats("a"), await store.beats("a"), await store.beats("b")) == (2, 2, None)


async def test_notifications_are_taken_once_by_their_owner(store: Store) -> None:
    spaced = TurnRef("a caller with spaces", "resp_1")
    await store.notify_owner("a", spaced)
    await store.notify_owner("a", ref())
    assert (await store.beat("b", b"")).notifications == ()
    assert (await store.beat("a", b"")).notifications == (spaced, ref())
    assert (await store.beat("a", b"")).notifications == ()


async def test_notification_that_is_repeated_is_taken_once(store: Store) -> None:
    for turn in (ref("a"), ref("b"), ref("a")):
        await store.notify_owner("a", turn)
    assert (await store.beat("a", b"")).notifications == (ref("a"), ref("b"))
    await store.notify_owner("a", ref("a"))
    assert (await store.beat("a", b"")).notifications == (ref("a"),)


async def test_only_a_node_whose_count_stood_still_is_retired(store: Store) -> None:
    await store.beat("a", b"")
    await store.beat("a", b"")
    await store.retire("a", 1)
    assert (await store.beat("b", b"")).counts == {"a": 2, "b": 1}
    await store.retire("a", 2)
    assert (await store.beat("b", b"")).counts == {"b": 2}
