"""The name and the lifetime of every key in Redis.

All keys of a caller carry one hash tag, its partition, and a digest of the caller instead of its name. Scripts that
reach keys of which only a stored value knows the id are given the prefix, which is the key of the empty id.
"""

from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b

import msgspec


class Lifetimes(msgspec.Struct, frozen=True):
    """Lifetimes in seconds. Every key that is written is given one of these."""

    session: int = 30 * 86_400  # responses, history, conversations, and everything of a turn that runs
    log: int = 15 * 60  # a finished turn's log, and the tombstone of a deleted one
    unkept: int = 60  # everything of a `store: false` turn, after its end


CACHED = 128  # characters of a text that is remembered: what is longer is no id of ours, and would stay for ever


def digest(text: str) -> str:
    """A short name for text that must not appear in a key."""
    return _short_digest(text) if len(text) <= CACHED else _digest(text)


def _digest(text: str) -> str:
    return urlsafe_b64encode(blake2b(text.encode(), digest_size=12).digest()).decode()


_short_digest = lru_cache(4096)(_digest)


@lru_cache(4096)
def _partition(partitions: int, caller: str) -> int:
    if partitions == 1:
        return 0
    return blake2b(caller.encode(), digest_size=1).digest()[0] % partitions


def _name(partition: int, caller: str, kind: str, id: str) -> str:
    return f"tl:{{{partition}}}:{kind}:{digest(caller)}:{id}"


# A turn's own are asked for with each of its appends; a thousand turns may run at once.
@lru_cache(4096)
def _turn_and_log(partitions: int, caller: str, id: str) -> tuple[str, str]:
    partition = _partition(partitions, caller)
    return _name(partition, caller, "turn", id), _name(partition, caller, "log", id)


class Keys:
    """Key names for a store of so many partitions. The names in Redis stay what they are: other releases read them."""

    def __init__(self, partitions: int = 1) -> None:
        self.partitions = partitions

    def partition(self, caller: str) -> int:
        """The partition that everything of this caller is kept in. The same on every node and for ever."""
        return _partition(self.partitions, caller)

    def _of(self, caller: str, kind: str, id: str) -> str:
        return _name(self.partition(caller), caller, kind, id)

    def turn(self, caller: str, id: str) -> str:
        """Hash: the turn."""
        return self._of(caller, "turn", id)

    def log(self, caller: str, id: str) -> str:
        """Stream: its log."""
        return self._of(caller, "log", id)

    def turn_and_log(self, caller: str, id: str) -> tuple[str, str]:
        """Both in one look-up: every append asks for them."""
        if len(id) > CACHED:
            return self.turn(caller, id), self.log(caller, id)
        return _turn_and_log(self.partitions, caller, id)

    def response(self, caller: str, id: str) -> str:
        """Hash: a finished response and its place in the history."""
        return self._of(caller, "response", id)

    def tombstone(self, caller: str, id: str) -> str:
        """String: this turn was deleted."""
        return self._of(caller, "gone", id)

    def idempotency(self, caller: str, key: str) -> str:
        """Hash: the turn that an idempotency key created. The key is the client's text: only its digest shows."""
        return self._of(caller, "once", digest(key) if key else "")

    def segment(self, caller: str, id: str) -> str:
        """Hash: a chain segment's parent and how many responses, segments and running turns use it."""
        return self._of(caller, "segment", id)

    def conversation(self, caller: str, id: str) -> str:
        """Hash: a conversation, the named kind of segment."""
        return self._of(caller, "conversation", id)

    def items(self, caller: str, segment: str) -> str:
        """List: a segment's items by position. A deleted item is the empty string."""
        return self._of(caller, "items", segment)

    def positions(self, caller: str, conversation: str) -> str:
        """Hash: item id to position, for conversations."""
        return self._of(caller, "positions", conversation)

    def conversations(self, caller: str) -> str:
        """Sorted set: a caller's conversations by age."""
        return self._of(caller, "conversations", "")

    @staticmethod
    def unfinished(partition: int) -> str:
        """Set: the unfinished turns of a partition, as members()."""
        return f"tl:{{{partition}}}:open"

    @staticmethod
    def turn_prefix(partition: int) -> str:
        """The prefix which, with a member of the unfinished turns, makes a turn's key."""
        return f"tl:{{{partition}}}:turn:"

    @staticmethod
    def log_prefix(partition: int) -> str:
        """The same for logs."""
        return f"tl:{{{partition}}}:log:"

    @staticmethod
    def segment_prefix(partition: int) -> str:
        """The prefix which, with a caller's digest and a colon, makes the prefix of the caller's segments."""
        return f"tl:{{{partition}}}:segment:"

    @staticmethod
    def items_prefix(partition: int) -> str:
        """The same for items."""
        return f"tl:{{{partition}}}:items:"

    @staticmethod
    def member(caller: str, id: str) -> str:
        """A turn in the set of unfinished ones: "<digest of the caller>:<id>"."""
        return f"{digest(caller)}:{id}"

    @staticmethod
    def nodes() -> str:
        """Hash: every process by its incarnation, with its count and what it reports of itself."""
        return "tl:{nodes}:beats"

    @staticmethod
    def notifications(owner: str) -> str:
        """List: turns that an owner should look at, each as "<caller> <id>"."""
        return f"tl:{{nodes}}:mail:{owner}"

    @staticmethod
    def ticket(ticket: str) -> str:
        """String: the caller that a single-use ticket was made for. The ticket is a secret: only its digest shows."""
        return f"tl:ticket:{digest(ticket)}"

    @staticmethod
    def ticket_proof(ticket: str) -> str:
        """String: what binds the ticket to a credential, in the same slot of a cluster."""
        return f"tl:ticket-proof:{{{Keys.ticket(ticket)}}}"
