"""Owners who die, take over, and whose calls arrive late, twice or never: the log stays a ledger.

Numbers have no gap and no repeat, there is one terminal event, and what was acknowledged once is never changed.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from server.protocol.status import FINAL
from server.store.redis.client import Client
from server.store.redis.store import connect
from server.store.types import Append, Ending, Lease, LogEntry, WriteResult, WriteStatus
from tests.redis_server import Server
from tests.server.store.make import append, ending, new, ref

T = TypeVar("T")
FINE = (WriteStatus.OK, WriteStatus.DUPLICATE)
IDS = st.sampled_from("aab")
OWNERS = st.sampled_from(["x", "y", "z"])


class OwnerState:
    """What an owner believes of a turn: its lease, the last number that was acknowledged, and what it sent since."""

    def __init__(self, lease: Lease, last_seq: int) -> None:
        self.lease = lease
        self.last_seq = last_seq
        self.in_flight: Append | Ending | None = None


class Ledger(RuleBasedStateMachine):
    """One Redis, three owners, two turns."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = connect(server.url)
        self.wait(_empty(server))
        # Each owner is another process after each death.
        self.lives = dict.fromkeys("xyz", 0)
        self.held: dict[tuple[str, str], OwnerState] = {}
        # Every write that ever left an owner, delivered or not, and every lease that anybody ever saw, by turn.
        self.sent: list[tuple[str, str, Append | Ending]] = []
        self.seen: dict[str, list[Lease | None]] = {"a": [None], "b": [None]}
        # What was acknowledged, by the number of its last event; and which turns were deleted.
        self.acknowledged: dict[str, dict[int, bytes]] = {"a": {}, "b": {}}
        self.deleted: set[str] = set()

    def wait(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.wait(self.store.close())
        self.runner.close()

    def name(self, owner: str) -> str:
        return f"{owner}{self.lives[owner]}"

    def hold(self, owner: str, id: str, lease: Lease, last_seq: int) -> None:
        self.held[self.name(owner), id] = OwnerState(lease, last_seq)

    # -- owners ------------------------------------------------------------------------------------------------------

    @rule(id=IDS, owner=OWNERS, queued=st.booleans(), answered=st.booleans())
    def create(self, id: str, owner: str, queued: bool, answered: bool) -> None:
        lease = None if queued else Lease(1, self.name(owner))
        known = self.wait(self.store.turn(ref(id)))
        self.wait(self.store.create(new(id, lease=lease)))
        if known is None and id not in self.deleted:
            self.acknowledged[id] = {1: b"first"}
            self.seen[id].append(lease)
            if answered and lease is not None:
                self.hold(owner, id, lease, 1)

    @rule(id=IDS, owner=OWNERS, data=st.data(), answered=st.booleans())
    def claim(self, id: str, owner: str, data: st.DataObject, answered: bool) -> None:
        """With a lease that may be an old one."""
        if (self.name(owner), id) in self.held:
            return
        lease = data.draw(st.sampled_from(self.seen[id][::-1]))
        result = self.wait(self.store.claim(ref(id), lease, self.name(owner)))
        assert not result.hole
        if result.lease not in self.seen[id]:
            self.seen[id].append(result.lease)
        if answered and result.status in FINE and result.lease is not None:
            assert result.lease.owner == self.name(owner)
            self.hold(owner, id, result.lease, result.last_seq)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), events=st.integers(1, 3), last=st.booleans(), delivered=st.booleans())
    def write(self, data: st.DataObject, events: int, last: bool, delivered: bool) -> None:
        """Freeze an append or an ending, once the one before it was answered."""
        owner, id = data.draw(st.sampled_from(sorted(self.held)))
        if self.held[owner, id].in_flight is None:
            self.freeze(owner, id, events, last)
            if delivered:
                self.deliver(*self.sent[-1])

    def freeze(self, owner: str, id: str, events: int, last: bool) -> None:
        state, words = self.held[owner, id], f"{owner} {len(self.sent)}".encode()
        written = append(id, state.last_seq, state.last_seq + events, lease=state.lease, entry=words)
        state.in_flight = Ending(written, ending().status, b"{}", ()) if last else written
        self.sent.append((owner, id, state.in_flight))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), heir=OWNERS, last=st.booleans())
    def outlive(self, data: st.DataObject, heir: str, last: bool) -> None:
        """An owner's last write arrives when its heir has the turn."""
        owner, id = data.draw(st.sampled_from(sorted(self.held)))
        lease = self.held[owner, id].lease
        if self.held[owner, id].in_flight is None:
            self.freeze(owner, id, 1, last)
            self.die(owner[0])
            result = self.wait(self.store.claim(ref(id), lease, self.name(heir)))
            if result.status in FINE and result.lease is not None:
                self.seen[id].append(result.lease)
                self.hold(heir, id, result.lease, result.last_seq)
            self.deliver(*self.sent[-1])

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        """Any write that was ever sent arrives: late, or once more."""
        self.deliver(*self.sent[-1 - data.draw(st.integers(0, len(self.sent) - 1))])

    def deliver(self, owner: str, id: str, frozen: Append | Ending) -> None:
        result: WriteResult
        before = self.wait(self.store.turn(ref(id)))
        if isinstance(frozen, Ending):
            written, result = frozen.append, self.wait(self.store.finish(frozen))
        else:
            written, [result] = frozen, self.wait(self.store.append([frozen]))
        if result.status is WriteStatus.OK:
            assert before is not None
            assert (before.lease, before.last_seq) == (written.lease, written.after_seq)
        if result.status in FINE:
            assert self.acknowledged[id].setdefault(written.last_seq, written.entry) == written.entry
        state = self.held.get((owner, id))
        if state is None or state.in_flight is not frozen:
            return
        assert result.status is not WriteStatus.GAP
        state.last_seq, state.in_flight = written.last_seq, None
        if result.status not in FINE or isinstance(frozen, Ending):
            del self.held[owner, id]

    @rule(owner=OWNERS)
    def die(self, owner: str) -> None:
        self.held = {key: state for key, state in self.held.items() if key[0] != self.name(owner)}
        self.lives[owner] += 1

    @precondition(lambda self: self.held)
    @rule(data=st.data(), released=st.booleans())
    def give(self, data: st.DataObject, released: bool) -> None:
        owner, id = data.draw(st.sampled_from(sorted(self.held)))
        lease = self.held[owner, id].lease
        if released:
            self.wait(self.store.release(ref(id), lease))
            del self.held[owner, id]
        else:
            self.wait(self.store.offer(ref(id), lease))

    # -- clients -----------------------------------------------------------------------------------------------------

    @rule(id=IDS)
    def cancel(self, id: str) -> None:
        result = self.wait(self.store.cancel(ref(id)))
        turn = self.wait(self.store.turn(ref(id)))
        if result.status is WriteStatus.OK:
            assert turn is not None
            assert turn.stop

    @rule(id=IDS)
    def delete(self, id: str) -> None:
        if self.wait(self.store.delete(ref(id))):
            self.deleted.add(id)
            self.acknowledged[id] = {}

    # -- what is always so -------------------------------------------------------------------------------------------

    @invariant()
    def is_a_ledger(self) -> None:
        for id in "ab":
            page = self.wait(self.store.read(ref(id), -1, 999))
            last_seqs = [-1, *(entry.last_seq for entry in page.entries)]
            assert [entry.after_seq for entry in page.entries] == last_seqs[:-1]
            last: list[LogEntry] = [entry for entry in page.entries if entry.is_last]
            assert len(last) == (page.status in FINAL)
            assert not last or last[0] is page.entries[-1]
            assert self.acknowledged[id].items() <= {entry.last_seq: entry.entry for entry in page.entries}.items()

    @invariant()
    def nothing_comes_back(self) -> None:
        assert all(self.wait(self.store.turn(ref(id))) is None for id in self.deleted)

    @invariant()
    def sweep_lists_what_is_open(self) -> None:
        turns = {id: self.wait(self.store.turn(ref(id))) for id in "ab"}
        unfinished = {turn.ref for turn in turns.values() if turn is not None and turn.status not in FINAL}
        assert {turn.ref for turn in self.wait(self.store.unfinished_turns(0))} == unfinished


async def _empty(server: Server) -> None:
    admin = Client(server.url)
    await admin.call("FLUSHALL")
    await admin.close()


@pytest.mark.redis
def test_log_stays_a_ledger(redis7: Server) -> None:
    class Here(Ledger):
        def __init__(self) -> None:
            super().__init__(redis7)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
