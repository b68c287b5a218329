"""Responses, history and conversations in Redis."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from server.protocol.status import Status
from server.store.errors import Locked, Missing
from server.store.redis.client import Arg, Client, LuaScript
from server.store.redis.keys import Keys, Lifetimes
from server.store.redis.route import Routed
from server.store.types import Checkpoint, Conversation, Item, Page, StoredResponse, TurnRef

PLACE = ("response", "status", "segment", "at", "first_input", "last_input")


class RedisHistory:
    """What is left of a turn when it has ended."""

    def __init__(self, client: Client | Routed, keys: Keys, lifetimes: Lifetimes) -> None:
        self._client = client
        self._keys = keys
        self._lifetimes = lifetimes
        self._history = LuaScript("history")
        self._own_input = LuaScript("own_input")
        self._add_conversation = LuaScript("conversation_add")
        self._read_conversation = LuaScript("conversation_read")
        self._change_conversation = LuaScript("conversation_change")
        self._page_items = LuaScript("conversation_items")
        self._end_of = LuaScript("conversation_end")
        self._one_item = LuaScript("conversation_item")

    @property
    def partitions(self) -> int:
        """How many there are."""
        return self._keys.partitions

    def partition(self, caller: str) -> int:
        """Where everything of this caller lies."""
        return self._keys.partition(caller)

    # -- responses -----------------------------------------------------------------------------------------------

    async def response(self, ref: TurnRef) -> StoredResponse | None:
        """A finished response."""
        values = await self._client.call("HMGET", self._keys.response(ref.caller, ref.id), *PLACE)
        response, status, segment, at, first, last = values
        if response is None:
            return None
        if segment is None:
            return StoredResponse(response, Status(status.decode()), None)
        place = Checkpoint(segment.decode(), int(at))
        return StoredResponse(response, Status(status.decode()), place, int(first), int(last))

    async def history(self, caller: str, checkpoint: Checkpoint) -> list[bytes] | None:
        """All items up to a checkpoint."""
        keys = [
            self._keys.segment(caller, ""),
            self._keys.items(caller, ""),
            self._keys.conversation(caller, ""),
            self._keys.positions(caller, ""),
            self._keys.conversations(caller),
        ]
        args: list[Arg] = [checkpoint.segment, checkpoint.position, self._lifetimes.session]
        items: list[bytes] | None = await self._client.run(self._history, keys, args)
        return items

    async def input_items(self, ref: TurnRef) -> list[bytes] | None:
        """The input items that came with a turn."""
        keys = [
            self._keys.turn(ref.caller, ref.id),
            self._keys.response(ref.caller, ref.id),
            self._keys.items(ref.caller, ""),
        ]
        match await self._client.run(self._own_input, keys, ()):
            case [b"packed", packed]:
                return unpack(packed)[1::2]
            case [b"list", found]:
                return list(found)
        return None

    # -- conversations -------------------------------------------------------------------------------------------

    async def create_conversation(self, caller: str, conversation: Conversation, items: Sequence[Item]) -> None:
        """Create one."""
        metadata = msgspec.json.encode(conversation.metadata)
        args: list[Arg] = [self._lifetimes.session, conversation.id, conversation.created_at, metadata, pack(items)]
        await self._client.run(self._add_conversation, self._named(caller, conversation.id), args)

    async def conversation(self, caller: str, id: str) -> Conversation | None:
        """Read one."""
        rows = await self._conversation_rows(caller, "one", id, 0)
        return _conversation(rows[0]) if rows else None

    async def conversations(self, caller: str, after: str | None, limit: int) -> Page:
        """Newest first."""
        rows = await self._conversation_rows(caller, "page", after or "", limit)
        if rows is None:
            raise Missing("conversation", after or "")
        return Page(tuple(_conversation(row) for row in rows[:limit]), len(rows) > limit)

    async def _conversation_rows(self, caller: str, what: str, id: str, limit: int) -> list[Any] | None:
        keys = [self._keys.conversation(caller, ""), self._keys.turn(caller, ""), self._keys.conversations(caller)]
        rows: list[Any] | None = await self._client.run(self._read_conversation, keys, [what, id, limit])
        return rows

    async def set_metadata(self, caller: str, id: str, metadata: dict[str, str]) -> Conversation:
        """Replace the metadata."""
        await self._changed(caller, id, "metadata", msgspec.json.encode(metadata))
        found = await self.conversation(caller, id)
        if found is None:
            raise Missing("conversation", id)
        return found

    async def delete_conversation(self, caller: str, id: str) -> bool:
        """Delete it with its items."""
        try:
            return await self._changed(caller, id, "drop", "")
        except Missing:
            return False

    async def conversation_end(self, caller: str, conversation: str) -> Checkpoint | None:
        """The checkpoint of everything said so far."""
        row = await self._client.run(
            self._end_of, [self._keys.conversation(caller, conversation), self._keys.items(caller, conversation)], ()
        )
        return None if row is None else Checkpoint(conversation, row - 1)

    async def add_items(self, caller: str, conversation: str, items: Sequence[Item]) -> None:
        """Append."""
        await self._changed(caller, conversation, "add", pack(items))

    async def delete_item(self, caller: str, conversation: str, id: str) -> bool:
        """Take one item out."""
        return await self._changed(caller, conversation, "drop_item", id)

    async def _changed(self, caller: str, id: str, what: str, value: Arg) -> bool:
        keys = [*self._named(caller, id), self._keys.turn(caller, "")]
        match await self._client.run(self._change_conversation, keys, [what, self._lifetimes.session, id, value]):
            case [b"missing"]:
                raise Missing("conversation", id)
            case [b"locked", turn]:
                raise Locked(id, turn.decode())
            case [_, done]:
                return bool(done)
        raise AssertionError("unreachable")

    async def items(self, caller: str, conversation: str, after: str | None, limit: int, *, newest: bool) -> Page:
        """Page through items."""
        keys = self._named(caller, conversation)[:3]
        found = await self._client.run(self._page_items, keys, [after or "", limit, "1" if newest else ""])
        if isinstance(found, bytes):
            raise Missing(found.decode(), conversation if found == b"conversation" else after or "")
        return Page(tuple(found[:limit]), len(found) > limit)

    async def item(self, caller: str, conversation: str, id: str) -> bytes | None:
        """One item."""
        keys = [self._keys.positions(caller, conversation), self._keys.items(caller, conversation)]
        found: bytes | None = await self._client.run(self._one_item, keys, [id])
        return found

    def _named(self, caller: str, id: str) -> list[str]:
        keys = self._keys
        return [
            keys.conversation(caller, id),
            keys.items(caller, id),
            keys.positions(caller, id),
            keys.conversations(caller),
        ]

    # -- tickets -------------------------------------------------------------------------------------------------

    async def put_ticket(self, ticket: str, caller: str, seconds: int) -> None:
        """Keep a single-use ticket."""
        await self._client.call("SET", self._keys.ticket(ticket), caller, "EX", seconds)

    async def take_ticket(self, ticket: str) -> str | None:
        """The caller it was made for, once."""
        caller: bytes | None = await self._client.call("GETDEL", self._keys.ticket(ticket))
        return None if caller is None else caller.decode()


def pack(items: Iterable[Item]) -> bytes:
    """Ids and items as one argument, each with its length in front."""
    parts: list[bytes] = []
    for item in items:
        for raw in (item.id.encode(), item.json):
            parts += (len(raw).to_bytes(4, "big"), raw)
    return b"".join(parts)


def unpack(packed: bytes) -> list[bytes]:
    """What was packed: id, item, id, item, ..."""
    parts: list[bytes] = []
    at = 0
    while at < len(packed):
        end = at + 4 + int.from_bytes(packed[at : at + 4], "big")
        parts.append(packed[at + 4 : end])
        at = end
    return parts


def _conversation(row: list[bytes]) -> Conversation:
    id, created_at, metadata, active = row
    return Conversation(
        id.decode(), int(created_at), msgspec.json.decode(metadata, type=dict[str, str]), active.decode() or None
    )
