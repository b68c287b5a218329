"""Write back what the store lost although it had acknowledged it.

When Redis comes back older than it was, the owner of a turn still has the whole log in memory. It claims the turn
above both fences, unless its own lease is still the one that is stored, and appends the missing entries with the same
numbers. Where Redis came back empty it admits the turn again first. That does not succeed for a turn that was
deleted, which left a tombstone, nor where the turn's conversation is gone.
"""

from functools import partial

import msgspec

from server.log.buffer import LogBuffer
from server.log.committer import GroupCommitter
from server.store.errors import Conflict
from server.store.types import Append, Lease, NewTurn, TurnRef, WriteResult, WriteStatus

APPLIED = frozenset({WriteStatus.OK, WriteStatus.DUPLICATE})
MAX_ROUNDS = 3  # the store may fall back again meanwhile
MAX_APPENDS = 200  # in one call


class OwnedLog(msgspec.Struct):
    """What a turn's owner can write back. The lease changes when the owner has to claim again."""

    ref: TurnRef
    lease: Lease
    buffer: LogBuffer  # the whole log
    origin: NewTurn | None  # what the turn was admitted with, if that happened on this node

    @property
    def origin_bytes(self) -> int:
        """What the admission takes in memory."""
        if self.origin is None:
            return 0
        return sum(map(len, self.origin.record.values())) + sum(len(item.json) for item in self.origin.input)

    def is_ahead_of(self, result: WriteResult) -> bool:
        """Whether a result shows that the store lost what it had acknowledged to us, and we can give it back."""
        if result.status is WriteStatus.GAP or (result.status is WriteStatus.LOST and self.origin is not None):
            return True
        # No lease is stored: only the writer gives back a turn that is being written, so the store fell back to where
        # the turn was queued.
        stored = result.lease
        return result.status is WriteStatus.FENCED and (stored is None or stored.fence < self.lease.fence)


async def catch_up(committer: GroupCommitter, owned: OwnedLog, result: WriteResult) -> WriteResult:
    """Give the store everything that it lacks but the terminal entry, which is written by finish().

    Called by the writer with the result that showed the loss; its own append is still to be repeated afterwards, under
    `owned.lease`. Returns the last result, whose status is in APPLIED if that succeeded. Raises what no repeat of a
    call can help.
    """
    for _ in range(MAX_ROUNDS):
        if not owned.is_ahead_of(result):
            break
        if result.status is WriteStatus.LOST:
            result = await _admit_again(committer, owned)
        elif result.lease != owned.lease:
            result = await _claim_again(committer, owned, result.lease)
        if result.status in APPLIED or result.status is WriteStatus.GAP:
            result = await _append_missing(committer, owned, result)
    return result


async def _admit_again(committer: GroupCommitter, owned: OwnedLog) -> WriteResult:
    assert owned.origin is not None
    again = msgspec.structs.replace(owned.origin, lease=owned.lease)
    try:
        created = await committer.until_answered(lambda: committer.store.create(again))
    except Conflict:
        return WriteResult(WriteStatus.LOST)
    if created.existing:
        return WriteResult(WriteStatus.LOST)
    # A tombstone lets create() succeed and write nothing: the append will find that the turn is not there.
    return WriteResult(WriteStatus.OK, again.last_seq, False, owned.lease)


async def _claim_again(committer: GroupCommitter, owned: OwnedLog, stored: Lease | None) -> WriteResult:
    mine = owned.lease
    claim = partial(committer.store.claim, owned.ref, stored, mine.owner, above=mine.fence)
    result = await committer.until_answered(claim)
    if result.status in APPLIED and result.lease is not None:
        owned.lease = result.lease
    return result


async def _append_missing(committer: GroupCommitter, owned: OwnedLog, result: WriteResult) -> WriteResult:
    """Append what follows on `result.last_seq`, in several calls where it is long."""
    missing = [
        Append(owned.ref, owned.lease, entry.after_seq, entry.last_seq, entry.entry)
        for entry in owned.buffer.entries_after(result.last_seq)
        if not entry.is_last
    ]
    last = WriteResult(WriteStatus.OK, result.last_seq, result.stop, owned.lease)
    for start in range(0, len(missing), MAX_APPENDS):
        batch = missing[start : start + MAX_APPENDS]
        for last in await committer.until_answered(partial(committer.store.append, batch)):
            if last.status not in APPLIED:
                return last
    return last
