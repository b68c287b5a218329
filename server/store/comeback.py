"""When Redis comes back older than what it had acknowledged, the owner still has the whole log in memory.

It claims above both fences, unless its own lease is still the one that is stored, and appends the missing entries
with the same numbers. An empty Redis is another matter: nothing there says that the turn was not deleted.
"""

from functools import partial

from server.store.base import Answer, Append, Lease, Outcome, Ref
from server.store.scribe import Scribe
from server.store.tail import Tail

FINE = frozenset({Answer.OK, Answer.DUPLICATE})
TRIES = 3  # Redis may fall back again meanwhile
CHUNK = 200  # entries in one call


def is_behind(lease: Lease, outcome: Outcome) -> bool:
    """Whether an answer shows that Redis has lost what it had acknowledged to the holder of `lease`."""
    if outcome.answer is Answer.GAP:
        return True
    stored = outcome.lease
    return outcome.answer is Answer.FENCED and stored is not None and stored.fence < lease.fence


async def catch_up(scribe: Scribe, ref: Ref, lease: Lease, tail: Tail, outcome: Outcome) -> tuple[Outcome, Lease]:
    """Give Redis what it lacks of `tail`. The last answer, which is not fine where that failed, and the lease then."""
    for _ in range(TRIES):
        if not is_behind(lease, outcome):
            break
        if outcome.lease != lease:
            outcome = await _claim(scribe, ref, outcome.lease, lease)
            if outcome.answer not in FINE or outcome.lease is None:
                break
            lease = outcome.lease
        outcome = await _append(scribe, ref, lease, tail, outcome)
    return outcome, lease


async def _claim(scribe: Scribe, ref: Ref, seen: Lease | None, lease: Lease) -> Outcome:
    return await scribe.repeated(lambda: scribe.store.claim(ref, seen, lease.owner, above=lease.fence))


async def _append(scribe: Scribe, ref: Ref, lease: Lease, tail: Tail, outcome: Outcome) -> Outcome:
    missing = [Append(ref, lease, one.after, one.top, one.entry) for one in tail.above(outcome.top)]
    last = Outcome(Answer.OK, outcome.top, outcome.stop, lease)
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        for last in await scribe.repeated(partial(scribe.store.append, chunk)):
            if last.answer not in FINE:
                return last
    return last
