"""Responses, history and conversations in Redis."""

from collections.abc import Sequence

import msgspec

from engine.offload import offloaded
from server.protocol.status import Status
from server.store.contracts import ALL
from server.store.errors import Locked, Missing
from server.store.redis.backend import RedisPart
from server.store.redis.packed_items import pack_items, unpack_jsons
from server.store.redis.scripts import (
    AddConversation,
    AddItems,
    DeleteConversation,
    DeleteItem,
    ListConversations,
    ListItems,
    ReadConversation,
    ReadConversationEnd,
    ReadHistory,
    ReadInputItems,
    ReadItem,
    SetMetadata,
)
from server.store.types import Checkpoint, Conversation, Item, Oversized, Page, StoredResponse, TurnRef

RESPONSE_FIELDS = ("response", "status", "segment", "at", "first_input", "last_input")


class RedisHistoryStore(RedisPart):
    """Keeps the contract `HistoryStore`. Every method is one script or one command."""

    # -- responses -----------------------------------------------------------------------------------------------

    async def response(self, ref: TurnRef) -> StoredResponse | None:
        """See `HistoryStore.response`."""
        values = await self._client.call("HMGET", self._keys.response(ref.caller, ref.id), *RESPONSE_FIELDS)
        response, status, segment, position, first_input, last_input = values
        if response is None:
            return None
        if segment is None:
            return StoredResponse(response, Status(status.decode()), None)
        checkpoint = Checkpoint(segment.decode(), int(position))
        return StoredResponse(response, Status(status.decode()), checkpoint, int(first_input), int(last_input))

    async def response_end(self, ref: TurnRef) -> Checkpoint | None:
        """See `HistoryStore.response_end`."""
        segment, position = await self._client.call("HMGET", self._keys.response(ref.caller, ref.id), "segment", "at")
        return None if segment is None else Checkpoint(segment.decode(), int(position))

    async def history(
        self, caller: str, checkpoint: Checkpoint, most: int = ALL, counted: int = ALL
    ) -> list[bytes] | Oversized | None:
        """See `HistoryStore.history`."""
        reply = await self._client.run(
            ReadHistory(
                segment_prefix=self._keys.segment(caller, ""),
                items_prefix=self._keys.items(caller, ""),
                conversation_prefix=self._keys.conversation(caller, ""),
                positions_prefix=self._keys.positions(caller, ""),
                conversations=self._keys.conversations(caller),
                segment=checkpoint.segment,
                position=checkpoint.position,
                most=most,
                counted=counted,
                session_ttl=self._lifetimes.session,
            )
        )
        return Oversized(reply) if isinstance(reply, int) else reply

    async def input_items(self, ref: TurnRef) -> list[bytes] | None:
        """See `HistoryStore.input_items`."""
        reply = await self._client.run(
            ReadInputItems(
                turn=self._keys.turn(ref.caller, ref.id),
                response=self._keys.response(ref.caller, ref.id),
                items_prefix=self._keys.items(ref.caller, ""),
            )
        )
        match reply:
            case [b"packed", packed]:
                return await offloaded(len(packed), unpack_jsons, packed)
            case [b"list", items]:
                return list(items)
        return None

    # -- conversations -------------------------------------------------------------------------------------------

    async def create_conversation(self, caller: str, conversation: Conversation, items: Sequence[Item]) -> None:
        """See `HistoryStore.create_conversation`."""
        await self._client.run(
            AddConversation(
                conversation=self._keys.conversation(caller, conversation.id),
                items=self._keys.items(caller, conversation.id),
                positions=self._keys.positions(caller, conversation.id),
                conversations=self._keys.conversations(caller),
                conversation_prefix=self._keys.conversation(caller, ""),
                session_ttl=self._lifetimes.session,
                id=conversation.id,
                created_at=conversation.created_at,
                metadata=msgspec.json.encode(conversation.metadata),
                first_items=pack_items(items),
            )
        )

    async def conversation(self, caller: str, id: str) -> Conversation | None:
        """See `HistoryStore.conversation`."""
        row = await self._client.run(
            ReadConversation(
                conversation_prefix=self._keys.conversation(caller, ""),
                turn_prefix=self._keys.turn(caller, ""),
                id=id,
            )
        )
        return None if row is None else _conversation(row)

    async def conversations(self, caller: str, after: str | None, limit: int) -> Page:
        """See `HistoryStore.conversations`."""
        page = ListConversations(
            conversation_prefix=self._keys.conversation(caller, ""),
            turn_prefix=self._keys.turn(caller, ""),
            conversations=self._keys.conversations(caller),
            after=after or "",
            limit=limit,
        )
        while isinstance(rows := await self._client.run(page), int):
            pass  # each call drops so many that have expired
        if rows is None:
            raise Missing("conversation", after or "")
        return Page(tuple(_conversation(row) for row in rows[:limit]), len(rows) > limit)

    async def set_metadata(self, caller: str, id: str, metadata: dict[str, str]) -> Conversation:
        """See `HistoryStore.set_metadata`."""
        row = await self._client.run(
            SetMetadata(
                conversation=self._keys.conversation(caller, id),
                items=self._keys.items(caller, id),
                positions=self._keys.positions(caller, id),
                conversations=self._keys.conversations(caller),
                conversation_prefix=self._keys.conversation(caller, ""),
                turn_prefix=self._keys.turn(caller, ""),
                session_ttl=self._lifetimes.session,
                id=id,
                metadata=msgspec.json.encode(metadata),
            )
        )
        if row is None:
            raise Missing("conversation", id)
        return _conversation(row)

    async def delete_conversation(self, caller: str, id: str) -> bool:
        """See `HistoryStore.delete_conversation`."""
        reply = await self._client.run(
            DeleteConversation(
                conversation=self._keys.conversation(caller, id),
                items=self._keys.items(caller, id),
                positions=self._keys.positions(caller, id),
                conversations=self._keys.conversations(caller),
                turn_prefix=self._keys.turn(caller, ""),
                session_ttl=self._lifetimes.session,
                id=id,
            )
        )
        _raise_if_locked(id, reply)
        return reply == [b"ok"]

    async def conversation_end(self, caller: str, conversation: str, *, unlocked: bool = False) -> Checkpoint | None:
        """See `HistoryStore.conversation_end`."""
        reply = await self._client.run(
            ReadConversationEnd(
                conversation=self._keys.conversation(caller, conversation),
                items=self._keys.items(caller, conversation),
                turn_prefix=self._keys.turn(caller, ""),
                unlocked="1" if unlocked else "",
            )
        )
        if isinstance(reply, bytes):
            raise Locked(conversation, reply.decode())
        return None if reply is None else Checkpoint(conversation, reply - 1)

    # -- items of conversations ----------------------------------------------------------------------------------

    async def add_items(self, caller: str, conversation: str, items: Sequence[Item]) -> None:
        """See `HistoryStore.add_items`."""
        reply = await self._client.run(
            AddItems(
                conversation=self._keys.conversation(caller, conversation),
                items=self._keys.items(caller, conversation),
                positions=self._keys.positions(caller, conversation),
                conversations=self._keys.conversations(caller),
                turn_prefix=self._keys.turn(caller, ""),
                session_ttl=self._lifetimes.session,
                new_items=pack_items(items),
            )
        )
        _raise_if_locked(conversation, reply)
        _raise_if_missing(conversation, reply)

    async def items(self, caller: str, conversation: str, after: str | None, limit: int, *, newest: bool) -> Page:
        """See `HistoryStore.items`."""
        found = await self._client.run(
            ListItems(
                conversation=self._keys.conversation(caller, conversation),
                items=self._keys.items(caller, conversation),
                positions=self._keys.positions(caller, conversation),
                after=after or "",
                limit=limit,
                newest_first="1" if newest else "",
            )
        )
        if isinstance(found, bytes):
            raise Missing(found.decode(), conversation if found == b"conversation" else after or "")
        return Page(tuple(found[:limit]), len(found) > limit)

    async def item(self, caller: str, conversation: str, id: str) -> bytes | None:
        """See `HistoryStore.item`."""
        return await self._client.run(
            ReadItem(
                positions=self._keys.positions(caller, conversation),
                items=self._keys.items(caller, conversation),
                id=id,
            )
        )

    async def delete_item(self, caller: str, conversation: str, id: str) -> bool:
        """See `HistoryStore.delete_item`."""
        reply = await self._client.run(
            DeleteItem(
                conversation=self._keys.conversation(caller, conversation),
                items=self._keys.items(caller, conversation),
                positions=self._keys.positions(caller, conversation),
                conversations=self._keys.conversations(caller),
                turn_prefix=self._keys.turn(caller, ""),
                session_ttl=self._lifetimes.session,
                id=id,
            )
        )
        _raise_if_locked(conversation, reply)
        _raise_if_missing(conversation, reply)
        return reply == [b"ok"]


def _raise_if_locked(conversation: str, reply: list[bytes]) -> None:
    if reply[0] == b"locked":
        raise Locked(conversation, reply[1].decode())


def _raise_if_missing(conversation: str, reply: list[bytes]) -> None:
    if reply[0] == b"missing":
        raise Missing("conversation", conversation)


def _conversation(row: list[bytes]) -> Conversation:
    id, created_at, metadata, active = row
    return Conversation(
        id.decode(), int(created_at), msgspec.json.decode(metadata, type=dict[str, str]), active.decode() or None
    )
