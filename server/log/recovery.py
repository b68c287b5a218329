"""When Redis comes back older than what it had acknowledged, the owner still has the whole log in memory.

It claims above both fences, unless its own lease is still the one that is stored, and appends the missing entries
with the same numbers. Where Redis came back empty it admits the turn again first; a deleted turn's tombstone, and a
conversation that is gone, keep that from succeeding.
"""

from functools import partial

import msgspec

from server.log.buffer import LogBuffer
from server.log.committer import GroupCommitter
from server.store.errors import Conflict
from server.store.types import Append, Lease, NewTurn, TurnRef, WriteResult, WriteStatus

APPLIED = frozenset({WriteStatus.OK, WriteStatus.DUPLICATE})
TRIES = 3  # Redis may fall back again meanwhile
CHUNK = 200  # entries in one call


def is_behind(lease: Lease, outcome: WriteResult, origin: NewTurn | None) -> bool:
    """Whether an answer shows that Redis lost what it had acknowledged to the holder of `lease`, who can give it."""
    if outcome.status is WriteStatus.GAP or (outcome.status is WriteStatus.LOST and origin is not None):
        return True
    # Nobody's: a turn that is written is given back by its writer alone, so Redis is back where it was queued.
    stored = outcome.lease
    return outcome.status is WriteStatus.FENCED and (stored is None or stored.fence < lease.fence)


class OwnedLog(msgspec.Struct):
    """What the owner knows of its turn."""

    lease: Lease
    tail: LogBuffer  # the whole log
    origin: NewTurn | None  # as it was admitted, where that happened here


async def catch_up(scribe: GroupCommitter, held: OwnedLog, ref: TurnRef, outcome: WriteResult) -> WriteResult:
    """Give Redis what it lacks. The last answer, which is not fine where that failed; the lease may be a new one."""
    for _ in range(TRIES):
        if not is_behind(held.lease, outcome, held.origin):
            break
        if outcome.status is WriteStatus.LOST:
            outcome = await _admit(scribe, held)
        elif outcome.lease != held.lease:
            outcome = await _claim(scribe, held, ref, outcome.lease)
        if outcome.status in (WriteStatus.OK, WriteStatus.DUPLICATE, WriteStatus.GAP):
            outcome = await _append(scribe, ref, held.lease, held.tail, outcome)
    return outcome


async def _admit(scribe: GroupCommitter, held: OwnedLog) -> WriteResult:
    assert held.origin is not None
    again = msgspec.structs.replace(held.origin, lease=held.lease)
    try:
        made = await scribe.until_answered(lambda: scribe.store.create(again))
    except Conflict:
        return WriteResult(WriteStatus.LOST)
    # A tombstone lets create succeed and writes nothing: the append will find that the turn is not there.
    return (
        WriteResult(WriteStatus.LOST)
        if made.existing
        else WriteResult(WriteStatus.OK, again.last_seq, False, held.lease)
    )


async def _claim(scribe: GroupCommitter, held: OwnedLog, ref: TurnRef, seen: Lease | None) -> WriteResult:
    lease = held.lease
    outcome = await scribe.until_answered(lambda: scribe.store.claim(ref, seen, lease.owner, above=lease.fence))
    if outcome.status in APPLIED and outcome.lease is not None:
        held.lease = outcome.lease
    return outcome


async def _append(
    scribe: GroupCommitter, ref: TurnRef, lease: Lease, tail: LogBuffer, outcome: WriteResult
) -> WriteResult:
    entries = (one for one in tail.entries_after(outcome.last_seq) if not one.is_last)  # the last one is for finish()
    missing = [Append(ref, lease, one.after_seq, one.last_seq, one.entry) for one in entries]
    last = WriteResult(WriteStatus.OK, outcome.last_seq, outcome.stop, lease)
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        for last in await scribe.until_answered(partial(scribe.store.append, chunk)):
            if last.status not in APPLIED:
                return last
    return last
