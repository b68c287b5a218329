"""When Redis comes back older than what it had acknowledged, the owner still has the whole log in memory.

It claims above both fences, unless its own lease is still the one that is stored, and appends the missing entries
with the same numbers. Where Redis came back empty it admits the turn again first; a deleted turn's tombstone, and a
conversation that is gone, keep that from succeeding.
"""

from functools import partial

import msgspec

from server.log.buffer import Tail
from server.log.committer import Scribe
from server.store.base import Answer, Append, Conflict, Lease, NewTurn, Outcome, Ref

FINE = frozenset({Answer.OK, Answer.DUPLICATE})
TRIES = 3  # Redis may fall back again meanwhile
CHUNK = 200  # entries in one call


def is_behind(lease: Lease, outcome: Outcome, origin: NewTurn | None) -> bool:
    """Whether an answer shows that Redis lost what it had acknowledged to the holder of `lease`, who can give it."""
    if outcome.answer is Answer.GAP or (outcome.answer is Answer.LOST and origin is not None):
        return True
    # Nobody's: a turn that is written is given back by its writer alone, so Redis is back where it was queued.
    stored = outcome.lease
    return outcome.answer is Answer.FENCED and (stored is None or stored.fence < lease.fence)


class Held(msgspec.Struct):
    """What the owner knows of its turn."""

    lease: Lease
    tail: Tail  # the whole log
    origin: NewTurn | None  # as it was admitted, where that happened here


async def catch_up(scribe: Scribe, held: Held, ref: Ref, outcome: Outcome) -> Outcome:
    """Give Redis what it lacks. The last answer, which is not fine where that failed; the lease may be a new one."""
    for _ in range(TRIES):
        if not is_behind(held.lease, outcome, held.origin):
            break
        if outcome.answer is Answer.LOST:
            outcome = await _admit(scribe, held)
        elif outcome.lease != held.lease:
            outcome = await _claim(scribe, held, ref, outcome.lease)
        if outcome.answer in (Answer.OK, Answer.DUPLICATE, Answer.GAP):
            outcome = await _append(scribe, ref, held.lease, held.tail, outcome)
    return outcome


async def _admit(scribe: Scribe, held: Held) -> Outcome:
    assert held.origin is not None
    again = msgspec.structs.replace(held.origin, lease=held.lease)
    try:
        made = await scribe.repeated(lambda: scribe.store.create(again))
    except Conflict:
        return Outcome(Answer.LOST)
    # A tombstone lets create succeed and writes nothing: the append will find that the turn is not there.
    return Outcome(Answer.LOST) if made.existing else Outcome(Answer.OK, again.top, False, held.lease)


async def _claim(scribe: Scribe, held: Held, ref: Ref, seen: Lease | None) -> Outcome:
    lease = held.lease
    outcome = await scribe.repeated(lambda: scribe.store.claim(ref, seen, lease.owner, above=lease.fence))
    if outcome.answer in FINE and outcome.lease is not None:
        held.lease = outcome.lease
    return outcome


async def _append(scribe: Scribe, ref: Ref, lease: Lease, tail: Tail, outcome: Outcome) -> Outcome:
    entries = (one for one in tail.above(outcome.top) if not one.last)  # the last one is for finish()
    missing = [Append(ref, lease, one.after, one.top, one.entry) for one in entries]
    last = Outcome(Answer.OK, outcome.top, outcome.stop, lease)
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        for last in await scribe.repeated(partial(scribe.store.append, chunk)):
            if last.answer not in FINE:
                return last
    return last
