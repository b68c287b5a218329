"""Turns, their leases and their logs in Redis."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from engine.offload import offloaded
from server.protocol.status import Status
from server.store.errors import KeyReused, Locked, Missing, Moved
from server.store.redis.backend import RedisPart
from server.store.redis.packed_items import pack_items
from server.store.redis.scripts import (
    AppendEntries,
    AppendShare,
    CancelTurn,
    ClaimTurn,
    CreateTurn,
    DeleteTurn,
    FinishTurn,
    ListUnfinishedTurns,
    OfferTurn,
    ReadLog,
    ReleaseTurn,
    ReportViewer,
)
from server.store.types import (
    Append,
    CreateResult,
    Ending,
    Lease,
    LogEntry,
    LogPage,
    NewTurn,
    Turn,
    TurnRef,
    WriteResult,
    WriteStatus,
)

if TYPE_CHECKING:
    from server.store.redis.lua_call import Arg

UNFINISHED_FIELDS = (
    *("caller", "status", "top", "lease", "stop", "kept", "conversation", "offered", "created"),
    *("claims", "idle", "claimed_at", "looked", "r:model"),
)
ROWS_PER_SLICE = 64  # unfinished turns that are decoded before other tasks may run
ENTRIES_PER_READ = 200  # of each log that a blocking read answers at once
MAX_NUMBER = 2**53  # that Lua tells from the next one
LATEST_TIME = 253_402_300_800  # seconds: the year 10000
MAX_STREAM_SEQUENCE = 2**64 - 1  # of the second part of a stream's ids


class RedisTurnStore(RedisPart):
    """Keeps the contract `TurnStore`. Every method is one script or one command."""

    async def create(self, new: NewTurn) -> CreateResult:
        """See `TurnStore.create`."""
        size = sum(len(item.json) for item in new.input)
        match await self._client.run(await offloaded(size, self._creation, new)):
            case [b"ok"]:
                return CreateResult()
            case [b"existing", id]:
                return CreateResult(None if id.decode() == new.ref.id else id.decode())
            case [b"reused"]:
                raise KeyReused(new.idempotency_key)
            case [b"locked", turn]:
                raise Locked(new.conversation or "", turn.decode())
            case [b"moved"]:
                raise Moved(new.conversation)
        raise Missing("conversation", new.conversation or "")

    def _creation(self, new: NewTurn) -> CreateTurn:
        keys, caller, id = self._keys, new.ref.caller, new.ref.id
        conversation = new.conversation or ""
        parent = new.parent.segment if new.parent else ""
        return CreateTurn(
            turn=keys.turn(caller, id),
            log=keys.log(caller, id),
            unfinished=keys.unfinished(keys.partition(caller)),
            tombstone=keys.tombstone(caller, id),
            idempotency=keys.idempotency(caller, new.idempotency_key or ""),
            conversation=keys.conversation(caller, conversation),
            items=keys.items(caller, conversation),
            positions=keys.positions(caller, conversation),
            conversations=keys.conversations(caller),
            turn_prefix=keys.turn(caller, ""),
            parent_segment=keys.segment(caller, parent),
            session_ttl=self._lifetimes.session,
            id=id,
            caller=caller,
            member=keys.member(caller, id),
            fingerprint=new.fingerprint,
            is_idempotent="" if new.idempotency_key is None else "1",
            conversation_id=conversation,
            lease=_lease_text(new.lease),
            last_seq=new.last_seq,
            entry=new.entry,
            kept="1" if new.kept else "",
            parent=parent,
            parent_position=new.parent.position if new.parent else "",
            input=pack_items(new.input),
            record=[word for pair in new.record.items() for word in pair],
        )

    async def find_idempotent(self, caller: str, key: str) -> tuple[str, str] | None:
        """See `TurnStore.find_idempotent`."""
        id, fingerprint = await self._client.call("HMGET", self._keys.idempotency(caller, key), "id", "fingerprint")
        return None if id is None else (id.decode(), fingerprint.decode())

    async def append(self, batch: Sequence[Append]) -> list[WriteResult]:
        """See `TurnStore.append`."""
        turn_and_log = self._keys.turn_and_log
        shares = [
            AppendShare(
                *turn_and_log(one.ref.caller, one.ref.id),
                _lease_text(one.lease),
                one.after_seq,
                one.last_seq,
                one.entry,
            )
            for one in batch
        ]
        replies = await self._client.run(AppendEntries(shares=shares))
        return [
            WriteResult(WriteStatus.OK, one.last_seq, False, one.lease) if reply == 1 else _result_of_one(reply)
            for one, reply in zip(batch, replies, strict=True)
        ]

    async def claim(self, ref: TurnRef, seen: Lease | None, owner: str, *, above: int = 0) -> WriteResult:
        """See `TurnStore.claim`."""
        reply = await self._client.run(
            ClaimTurn(
                turn=self._keys.turn(ref.caller, ref.id),
                seen_lease=_lease_text(seen),
                owner=owner,
                above=above,
                intact_runs=",".join(self._backend.intact_runs()),
            )
        )
        hole, claims, idle_claims = reply[4:]
        return msgspec.structs.replace(_write_result(reply), hole=bool(hole), claims=claims, idle_claims=idle_claims)

    async def offer(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """See `TurnStore.offer`."""
        call = OfferTurn(turn=self._keys.turn(ref.caller, ref.id), lease=_lease_text(lease))
        return _write_result(await self._client.run(call))

    async def release(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """See `TurnStore.release`."""
        call = ReleaseTurn(turn=self._keys.turn(ref.caller, ref.id), lease=_lease_text(lease))
        return _write_result(await self._client.run(call))

    async def cancel(self, ref: TurnRef) -> WriteResult:
        """See `TurnStore.cancel`."""
        return _write_result(await self._client.run(CancelTurn(turn=self._keys.turn(ref.caller, ref.id))))

    async def report_viewer(self, ref: TurnRef) -> None:
        """See `TurnStore.report_viewer`."""
        await self._client.run(ReportViewer(turn=self._keys.turn(ref.caller, ref.id)))

    async def finish(self, ending: Ending) -> WriteResult:
        """See `TurnStore.finish`."""
        one, keys, lifetimes = ending.append, self._keys, self._lifetimes
        caller, id = one.ref.caller, one.ref.id
        call = FinishTurn(
            turn=keys.turn(caller, id),
            log=keys.log(caller, id),
            unfinished=keys.unfinished(keys.partition(caller)),
            response=keys.response(caller, id),
            conversation_prefix=keys.conversation(caller, ""),
            items_prefix=keys.items(caller, ""),
            positions_prefix=keys.positions(caller, ""),
            segment_prefix=keys.segment(caller, ""),
            conversations=keys.conversations(caller),
            id=id,
            member=keys.member(caller, id),
            lease=_lease_text(one.lease),
            after_seq=one.after_seq,
            last_seq=one.last_seq,
            entry=one.entry,
            status=ending.status,
            response_json=ending.response,
            output=pack_items(ending.output),
            session_ttl=lifetimes.session,
            log_ttl=lifetimes.log,
            unkept_ttl=lifetimes.unkept,
        )
        return _write_result(await self._client.run(call))

    async def delete(self, ref: TurnRef) -> bool:
        """See `TurnStore.delete`."""
        return await self._client.run(self._deletion(ref)) == 1

    async def withdraw(self, ref: TurnRef) -> None:
        """See `TurnStore.withdraw`."""
        await self._client.run(self._deletion(ref, is_withdrawal="1"))

    def _deletion(self, ref: TurnRef, is_withdrawal: str = "") -> DeleteTurn:
        keys, caller, id = self._keys, ref.caller, ref.id
        return DeleteTurn(
            turn=keys.turn(caller, id),
            log=keys.log(caller, id),
            unfinished=keys.unfinished(keys.partition(caller)),
            response=keys.response(caller, id),
            tombstone=keys.tombstone(caller, id),
            conversation_prefix=keys.conversation(caller, ""),
            segment_prefix=keys.segment(caller, ""),
            items_prefix=keys.items(caller, ""),
            id=id,
            member=keys.member(caller, id),
            tombstone_ttl=self._lifetimes.log,
            is_withdrawal=is_withdrawal,
        )

    async def turn(self, ref: TurnRef) -> Turn | None:
        """See `TurnStore.turn`."""
        flat = await self._client.call("HGETALL", self._keys.turn(ref.caller, ref.id))
        fields = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
        return _turn(ref.id, fields) if "fence" in fields else None

    async def read(self, ref: TurnRef, after: int, limit: int) -> LogPage:
        """See `TurnStore.read`."""
        turn, log = self._keys.turn(ref.caller, ref.id), self._keys.log(ref.caller, ref.id)
        reply = await self._client.run(ReadLog(turn=turn, log=log, after_id=_stream_id(after), limit=limit))
        if reply is None:
            return LogPage((), None)
        status, last_seq, entries = reply
        return LogPage(_entries(entries), Status(status.decode()), last_seq)

    async def follow(self, after: dict[TurnRef, int], wait_ms: int) -> dict[TurnRef, tuple[LogEntry, ...]]:
        """See `TurnStore.follow`."""
        refs = {self._keys.log(ref.caller, ref.id).encode(): ref for ref in after}
        command: tuple[Arg, ...] = ("XREAD", "COUNT", ENTRIES_PER_READ, "BLOCK", wait_ms, "STREAMS", *refs)
        command += tuple(_stream_id(seq) for seq in after.values())
        partition = self._keys.partition(next(iter(after)).caller)
        key = self._keys.unfinished(partition)
        reply = await self._blocking.read(partition, key, command, wait_ms / 1000)
        return {refs[log]: _entries(entries) for log, entries in reply or ()}

    async def wake(self, partition: int) -> None:
        """See `TurnStore.wake`."""
        await self._blocking.wake(partition)

    async def unfinished_turns(self, partition: int) -> list[Turn]:
        """See `TurnStore.unfinished_turns`."""
        rows, unreadable = await self._client.run(
            ListUnfinishedTurns(
                unfinished=self._keys.unfinished(partition),
                turn_prefix=self._keys.turn_prefix(partition),
                log_prefix=self._keys.log_prefix(partition),
                segment_prefix=self._keys.segment_prefix(partition),
                items_prefix=self._keys.items_prefix(partition),
                session_ttl=self._lifetimes.session,
                fields=UNFINISHED_FIELDS,
            )
        )
        for member, why in unreadable:
            self._unreadable.report("turn", member or b"", (why or b"").decode(errors="replace"))
        found = []
        for number, (member, *values) in enumerate(rows, 1):
            if number % ROWS_PER_SLICE == 0:
                await asyncio.sleep(0)  # a thousand rows at once would stop every stream for a while
            fields = {name: value for name, value in zip(UNFINISHED_FIELDS, values, strict=True) if value is not None}
            try:
                found.append(_row((member or b"").decode().split(":", 1)[1], fields))
            except (ValueError, LookupError) as error:
                self._unreadable.report("turn", member or b"", error)
        return found


def _lease_text(lease: Lease | None) -> str:
    return "" if lease is None else f"{lease.fence}:{lease.owner}"


def _lease(text: bytes) -> Lease | None:
    fence, _, owner = text.decode().partition(":")
    return Lease(_count(fence, 1), owner) if owner else None


def _write_result(reply: list[Any]) -> WriteResult:
    status = WriteStatus(reply[0].decode())
    if status is WriteStatus.BROKEN:
        return WriteResult(status)
    return WriteResult(status, reply[1], bool(reply[2]), _lease(reply[3]))


def _result_of_one(reply: list[Any]) -> WriteResult:
    """An answer of a batch: one that makes no sense, as its turn's hash was damaged, is that turn's alone."""
    try:
        return _write_result(reply)
    except (ValueError, LookupError, TypeError):
        return WriteResult(WriteStatus.BROKEN)


def _stream_id(after: int) -> str:
    """The id behind which the entries with events above `after` begin."""
    return f"{after}-{MAX_STREAM_SEQUENCE}" if after >= 0 else "0-0"


def _entries(raw: list[Any]) -> tuple[LogEntry, ...]:
    """A stream's entries: the id is `<last_seq>-<events>`, the fields are `e` and, in the last one, `end`."""
    found = []
    for id, fields in raw:
        last_seq, _, events = id.partition(b"-")
        number = int(last_seq)
        found.append(LogEntry(number, fields[1], number - int(events), len(fields) > 2))
    return tuple(found)


def _count(text: bytes | str | int, least: int = 0) -> int:
    """A number that a store of ours may have written. Raises ValueError for any other."""
    number = int(text)
    if not least <= number <= MAX_NUMBER:
        raise ValueError("a number out of range")
    return number


def _time(text: bytes) -> float:
    """Seconds since the epoch. Raises ValueError for what is no time."""
    seconds = float(text)
    if not 0 <= seconds <= LATEST_TIME:  # false for NaN too, which cannot be sorted by
        raise ValueError("a time out of range")
    return seconds


def _row(id: str, fields: dict[str, bytes]) -> Turn:
    """A turn without its record."""
    return msgspec.structs.replace(_turn(id, fields), record={})


def _turn(id: str, fields: dict[str, bytes]) -> Turn:
    """A turn of its fields. Raises ValueError, KeyError for what no release has written."""
    return Turn(
        ref=TurnRef(fields["caller"].decode(), id),
        status=Status(fields["status"].decode()),
        last_seq=_count(fields["top"], -1),
        lease=_lease(fields["lease"]),
        stop="stop" in fields,
        kept=fields["kept"] == b"1",
        conversation=fields["conversation"].decode() if "conversation" in fields else None,
        record={name[2:]: value for name, value in fields.items() if name.startswith("r:")},
        offered="offered" in fields,
        created_at=_time(fields["created"]),
        claims=_count(fields.get("claims", 0)),
        idle_claims=_count(fields.get("idle", 0)) if fields.get("claimed_at") == fields["top"] else 0,
        viewer_reports=_count(fields.get("looked", 0)),
        model_version=fields.get("r:model", b"").decode(),
    )
