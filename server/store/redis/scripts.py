"""The scripts of the store, one class each. What a script does, expects and answers is written in its Lua file."""

from collections.abc import Sequence
from typing import Any

from server.protocol.status import Status
from server.store.redis.lua_call import Arg, Key, LuaBatchCall, LuaCall, LuaShare, Rest, lua_script
from server.store.types import HOLE

MAX_HISTORY_DEPTH = 8  # segments that one history may span before a fork is copied flat
RENEWALS_PER_LIFETIME = 8  # an unfinished turn's keys are renewed when an eighth of their lifetime has passed
NODES_TTL_S = 60  # the last trace of all nodes is gone so long after the last beat
NOTIFICATIONS_TTL_S = 10  # a notification waits so long for its owner
CHECKED_CONVERSATIONS = 4  # of a caller, that each new one looks at
MAX_DROPPED_CONVERSATIONS = 1000  # that have expired, by one call for a page

# -- turns -----------------------------------------------------------------------------------------------------------


@lua_script(IN_PROGRESS=Status.IN_PROGRESS, QUEUED=Status.QUEUED)
class CreateTurn(LuaCall[list[bytes]], frozen=True, kw_only=True):
    """`TurnStore.create`."""

    turn: Key
    log: Key
    unfinished: Key
    tombstone: Key
    idempotency: Key
    conversation: Key
    items: Key
    positions: Key
    conversations: Key
    turn_prefix: Key
    parent_segment: Key
    session_ttl: int
    id: str
    caller: str
    member: str
    fingerprint: str
    is_idempotent: str
    conversation_id: str
    lease: str
    last_seq: int
    entry: bytes
    kept: str
    parent: str
    parent_position: Arg
    input: bytes
    record: Rest


class AppendShare(LuaShare, frozen=True):
    """One turn's entry."""

    turn: Key
    log: Key
    lease: str
    after_seq: int
    last_seq: int
    entry: bytes


@lua_script(share=AppendShare, HOLE=HOLE)
class AppendEntries(LuaBatchCall[list[Any]], frozen=True, kw_only=True):
    """`TurnStore.append`."""

    shares: Sequence[AppendShare]


@lua_script(IN_PROGRESS=Status.IN_PROGRESS)
class ClaimTurn(LuaCall[list[Any]], frozen=True, kw_only=True):
    """`TurnStore.claim`."""

    turn: Key
    seen_lease: str
    owner: str
    above: int
    is_lossless: str


@lua_script()
class OfferTurn(LuaCall[list[Any]], frozen=True, kw_only=True):
    """`TurnStore.offer`."""

    turn: Key
    lease: str


@lua_script()
class ReleaseTurn(LuaCall[list[Any]], frozen=True, kw_only=True):
    """`TurnStore.release`."""

    turn: Key
    lease: str


@lua_script()
class CancelTurn(LuaCall[list[Any]], frozen=True, kw_only=True):
    """`TurnStore.cancel`."""

    turn: Key


@lua_script()
class ReportViewer(LuaCall[int], frozen=True, kw_only=True):
    """`TurnStore.report_viewer`."""

    turn: Key


@lua_script(HOLE=HOLE, MAX_HISTORY_DEPTH=MAX_HISTORY_DEPTH)
class FinishTurn(LuaCall[list[Any]], frozen=True, kw_only=True):
    """`TurnStore.finish`."""

    turn: Key
    log: Key
    unfinished: Key
    response: Key
    conversation_prefix: Key
    items_prefix: Key
    positions_prefix: Key
    segment_prefix: Key
    conversations: Key
    id: str
    member: str
    lease: str
    after_seq: int
    last_seq: int
    entry: bytes
    status: str
    response_json: bytes
    output: bytes
    session_ttl: int
    log_ttl: int
    unkept_ttl: int


@lua_script()
class DeleteTurn(LuaCall[int], frozen=True, kw_only=True):
    """`TurnStore.delete`."""

    turn: Key
    log: Key
    unfinished: Key
    response: Key
    tombstone: Key
    conversation_prefix: Key
    segment_prefix: Key
    items_prefix: Key
    id: str
    member: str
    tombstone_ttl: int


@lua_script()
class ReadLog(LuaCall[list[Any] | None], frozen=True, kw_only=True):
    """`TurnStore.read`."""

    turn: Key
    log: Key
    after_id: str
    limit: int


@lua_script(RENEWALS_PER_LIFETIME=RENEWALS_PER_LIFETIME)
class ListUnfinishedTurns(LuaCall[list[list[bytes | None]]], frozen=True, kw_only=True):
    """`TurnStore.unfinished_turns`."""

    unfinished: Key
    turn_prefix: Key
    log_prefix: Key
    segment_prefix: Key
    items_prefix: Key
    session_ttl: int
    fields: Rest


# -- history and conversations ---------------------------------------------------------------------------------------


@lua_script()
class ReadHistory(LuaCall[list[bytes] | int | None], frozen=True, kw_only=True):
    """`HistoryStore.history`."""

    segment_prefix: Key
    items_prefix: Key
    conversation_prefix: Key
    positions_prefix: Key
    conversations: Key
    segment: str
    position: int
    most: int
    counted: int
    session_ttl: int


@lua_script()
class ReadInputItems(LuaCall[list[Any] | None], frozen=True, kw_only=True):
    """`HistoryStore.input_items`."""

    turn: Key
    response: Key
    items_prefix: Key


@lua_script(CHECKED_CONVERSATIONS=CHECKED_CONVERSATIONS)
class AddConversation(LuaCall[int], frozen=True, kw_only=True):
    """`HistoryStore.create_conversation`."""

    conversation: Key
    items: Key
    positions: Key
    conversations: Key
    conversation_prefix: Key
    session_ttl: int
    id: str
    created_at: int
    metadata: bytes
    first_items: bytes


@lua_script()
class ReadConversation(LuaCall[list[bytes] | None], frozen=True, kw_only=True):
    """`HistoryStore.conversation`."""

    conversation_prefix: Key
    turn_prefix: Key
    id: str


@lua_script(MAX_DROPPED_CONVERSATIONS=MAX_DROPPED_CONVERSATIONS)
class ListConversations(LuaCall[list[list[bytes]] | int | None], frozen=True, kw_only=True):
    """`HistoryStore.conversations`."""

    conversation_prefix: Key
    turn_prefix: Key
    conversations: Key
    after: str
    limit: int


@lua_script()
class SetMetadata(LuaCall[list[bytes] | None], frozen=True, kw_only=True):
    """`HistoryStore.set_metadata`."""

    conversation: Key
    items: Key
    positions: Key
    conversations: Key
    conversation_prefix: Key
    turn_prefix: Key
    session_ttl: int
    id: str
    metadata: bytes


@lua_script()
class DeleteConversation(LuaCall[list[bytes]], frozen=True, kw_only=True):
    """`HistoryStore.delete_conversation`."""

    conversation: Key
    items: Key
    positions: Key
    conversations: Key
    turn_prefix: Key
    session_ttl: int
    id: str


@lua_script()
class ReadConversationEnd(LuaCall[int | bytes | None], frozen=True, kw_only=True):
    """`HistoryStore.conversation_end`."""

    conversation: Key
    items: Key
    turn_prefix: Key
    unlocked: str


@lua_script()
class AddItems(LuaCall[list[bytes]], frozen=True, kw_only=True):
    """`HistoryStore.add_items`."""

    conversation: Key
    items: Key
    positions: Key
    conversations: Key
    turn_prefix: Key
    session_ttl: int
    new_items: bytes


@lua_script()
class ListItems(LuaCall[list[bytes] | bytes], frozen=True, kw_only=True):
    """`HistoryStore.items`."""

    conversation: Key
    items: Key
    positions: Key
    after: str
    limit: int
    newest_first: str


@lua_script()
class ReadItem(LuaCall[bytes | None], frozen=True, kw_only=True):
    """`HistoryStore.item`."""

    positions: Key
    items: Key
    id: str


@lua_script()
class DeleteItem(LuaCall[list[bytes]], frozen=True, kw_only=True):
    """`HistoryStore.delete_item`."""

    conversation: Key
    items: Key
    positions: Key
    conversations: Key
    turn_prefix: Key
    session_ttl: int
    id: str


# -- tickets ---------------------------------------------------------------------------------------------------------


@lua_script()
class PutTicket(LuaCall[int], frozen=True, kw_only=True):
    """`TicketStore.put_ticket`."""

    ticket: Key
    proof: Key
    caller: str
    proven: str
    seconds: int


@lua_script()
class TakeTicket(LuaCall[list[bytes] | None], frozen=True, kw_only=True):
    """`TicketStore.take_ticket`."""

    ticket: Key
    proof: Key


# -- the registry of nodes -------------------------------------------------------------------------------------------


@lua_script(NODES_TTL_S=NODES_TTL_S)
class Beat(LuaCall[list[list[bytes]]], frozen=True, kw_only=True):
    """`NodeRegistry.beat`."""

    nodes: Key
    notifications: Key
    owner: str
    info: bytes


@lua_script(NOTIFICATIONS_TTL_S=NOTIFICATIONS_TTL_S)
class NotifyOwner(LuaCall[int], frozen=True, kw_only=True):
    """`NodeRegistry.notify_owner`."""

    notifications: Key
    notification: str


@lua_script()
class RetireNode(LuaCall[int], frozen=True, kw_only=True):
    """`NodeRegistry.retire`."""

    nodes: Key
    owner: str
    count: int
