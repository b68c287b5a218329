"""Turns and their logs in Redis. Every method is one script or one command; `lua/` says what each does."""

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from server.protocol.status import Status
from server.store.errors import KeyReused, Locked, Missing, Moved, StoreError
from server.store.redis.blocking import Blocking
from server.store.redis.client import Arg, Client, LuaScript
from server.store.redis.cluster import Cluster
from server.store.redis.history import RedisHistory, pack
from server.store.redis.keys import Keys, Lifetimes
from server.store.redis.route import Routed
from server.store.redis.sentinel import Sentinels
from server.store.types import (
    Append,
    ClusterSnapshot,
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

KINDS: dict[str, type[Client | Cluster | Sentinels]] = {
    **dict.fromkeys(("redis", "rediss", "unix"), Client),
    **dict.fromkeys(("redis+cluster", "rediss+cluster"), Cluster),
    **dict.fromkeys(("redis+sentinel", "rediss+sentinel"), Sentinels),
}
PARTITIONS = 16  # of a cluster; their hash tags lie in sixteen different slots
CALLS = 64  # connections to one server for calls, as many as are under way: a turn begins and ends with one of its own
BLOCKED = 2 * PARTITIONS  # connections to one server: each partition's reader, and those that wake them
DEPTH = 8  # segments that one history may span before a fork is copied flat
SWEPT = (
    *("caller", "status", "top", "lease", "stop", "kept", "conversation", "offered", "created"),
    *("claims", "idle", "claimed_at", "looked"),
)
BEATS = 60  # seconds after which the last trace of all nodes is gone
SLICE = 64  # rows of a sweep that are read before others get a turn
MAIL = 10  # seconds that a message waits for its owner


def connect(
    url: str, lifetimes: Lifetimes | None = None, *, timeout: float = 2.0, lossless: bool = False
) -> "RedisStore":
    """A store at `redis://`, `rediss://` or `unix://`; `redis+cluster://` and `redis+sentinel://`, also with `rediss`.

    Nothing is opened before the first call; `check()` is one. Raises StoreError for an address that makes no sense.
    """
    return RedisStore(url, lifetimes or Lifetimes(), timeout=timeout, lossless=lossless)


def _reach(url: str, *, timeout: float, limit: int = CALLS) -> Client | Routed:
    scheme = urlsplit(url).scheme
    if scheme not in KINDS:
        raise StoreError(f"{scheme}:// is not supported as a Redis address; use one of {', '.join(KINDS)}")
    return KINDS[scheme](url, timeout=timeout, limit=limit)


class RedisStore(RedisHistory):
    """The store that every node of a deployment shares."""

    def __init__(self, url: str, lifetimes: Lifetimes, *, timeout: float = 2.0, lossless: bool = False) -> None:
        client = _reach(url, timeout=timeout)
        super().__init__(client, Keys(PARTITIONS if isinstance(client, Cluster) else 1), lifetimes)
        self._blocking = Blocking(_reach(url, timeout=timeout, limit=BLOCKED))
        # Nothing is ever lost between two processes of this Redis.
        self._lossless = lossless
        self._create = LuaScript("create")
        self._append = LuaScript("append")
        self._claim = LuaScript("claim")
        self._mark = LuaScript("mark")
        self._finish = LuaScript("finish")
        self._delete = LuaScript("delete")
        self._read = LuaScript("read")
        self._sweep = LuaScript("sweep")
        self._beat = LuaScript("beat")
        self._retire = LuaScript("retire")

    async def create(self, new: NewTurn) -> CreateResult:
        """Admit a turn."""
        reply = await self._client.run(self._create, self._create_keys(new), self._create_args(new))
        match reply:
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

    async def find_idempotent(self, caller: str, key: str) -> tuple[str, str] | None:
        """The turn of an idempotency key."""
        id, print = await self._client.call("HMGET", self._keys.idempotency(caller, key), "id", "fingerprint")
        return None if id is None else (id.decode(), print.decode())

    def _create_keys(self, new: NewTurn) -> list[str]:
        keys, caller, id = self._keys, new.ref.caller, new.ref.id
        conversation = new.conversation or ""
        return [
            keys.turn(caller, id),
            keys.log(caller, id),
            keys.open(keys.partition(caller)),
            keys.tombstone(caller, id),
            keys.idempotency(caller, new.idempotency_key or ""),
            keys.conversation(caller, conversation),
            keys.items(caller, conversation),
            keys.positions(caller, conversation),
            keys.conversations(caller),
            keys.turn(caller, ""),
            keys.segment(caller, new.parent.segment if new.parent else ""),
        ]

    def _create_args(self, new: NewTurn) -> list[Arg]:
        args: list[Arg] = [
            self._lifetimes.session,
            new.ref.id,
            new.ref.caller,
            self._keys.member(new.ref.caller, new.ref.id),
            new.fingerprint,
            "" if new.idempotency_key is None else "1",
            new.conversation or "",
            _lease(new.lease),
            Status.QUEUED if new.lease is None else Status.IN_PROGRESS,
            new.last_seq,
            new.entry,
            "1" if new.kept else "",
            new.parent.segment if new.parent else "",
            new.parent.position if new.parent else "",
            pack(new.input),
        ]
        for field, value in new.record.items():
            args += (field, value)
        return args

    async def append(self, batch: Sequence[Append]) -> list[WriteResult]:
        """Append many turns' entries in one call."""
        keys: list[str] = []
        args: list[Arg] = []
        for one in batch:
            keys += (self._keys.turn(one.ref.caller, one.ref.id), self._keys.log(one.ref.caller, one.ref.id))
            args += (_lease(one.lease), one.after_seq, one.last_seq, one.entry)
        replies = await self._client.run(self._append, keys, args)
        return [
            WriteResult(WriteStatus.OK, one.last_seq, False, one.lease) if reply == 1 else _outcome(reply)
            for one, reply in zip(batch, replies, strict=True)
        ]

    async def claim(self, ref: TurnRef, seen: Lease | None, owner: str, *, above: int = 0) -> WriteResult:
        """Take a turn."""
        args: list[Arg] = [_lease(seen), owner, Status.IN_PROGRESS, above, "1" if self._lossless else ""]
        reply = await self._client.run(self._claim, [self._keys.turn(ref.caller, ref.id)], args)
        hole, claims, idle = reply[4:]
        return msgspec.structs.replace(_outcome(reply), hole=bool(hole), claims=claims, idle_claims=idle)

    async def offer(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """Mark a running turn as free to claim."""
        return await self._marked(ref, "offer", lease)

    async def release(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """Give a turn back."""
        return await self._marked(ref, "release", lease)

    async def cancel(self, ref: TurnRef) -> WriteResult:
        """Ask for a stop."""
        return await self._marked(ref, "stop", None)

    async def report_viewer(self, ref: TurnRef) -> None:
        """Say that somebody looks at it elsewhere."""
        await self._marked(ref, "look", None)

    async def _marked(self, ref: TurnRef, what: str, lease: Lease | None) -> WriteResult:
        keys = [self._keys.turn(ref.caller, ref.id)]
        return _outcome(await self._client.run(self._mark, keys, [what, _lease(lease)]))

    async def finish(self, ending: Ending) -> WriteResult:
        """Write a turn's end."""
        one, keys, lives = ending.append, self._keys, self._lifetimes
        caller, id = one.ref.caller, one.ref.id
        names = [
            keys.turn(caller, id),
            keys.log(caller, id),
            keys.open(keys.partition(caller)),
            keys.response(caller, id),
            keys.conversation(caller, ""),
            keys.items(caller, ""),
            keys.positions(caller, ""),
            keys.segment(caller, ""),
            keys.conversations(caller),
        ]
        args: list[Arg] = [
            id,
            keys.member(caller, id),
            _lease(one.lease),
            one.after_seq,
            one.last_seq,
            one.entry,
            ending.status,
        ]
        args += [ending.response, pack(ending.output), lives.session, lives.log, lives.unkept, DEPTH]
        return _outcome(await self._client.run(self._finish, names, args))

    async def delete(self, ref: TurnRef) -> bool:
        """Forget a response."""
        keys, caller, id = self._keys, ref.caller, ref.id
        names = [
            keys.turn(caller, id),
            keys.log(caller, id),
            keys.open(keys.partition(caller)),
            keys.response(caller, id),
            keys.tombstone(caller, id),
            keys.conversation(caller, ""),
            keys.segment(caller, ""),
            keys.items(caller, ""),
        ]
        args: list[Arg] = [id, keys.member(caller, id), self._lifetimes.log]
        return bool(await self._client.run(self._delete, names, args))

    async def turn(self, ref: TurnRef) -> Turn | None:
        """Read a turn's hash."""
        flat = await self._client.call("HGETALL", self._keys.turn(ref.caller, ref.id))
        fields = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
        return _turn(ref.id, fields) if "fence" in fields else None

    async def read(self, ref: TurnRef, after: int, limit: int) -> LogPage:
        """Part of a log."""
        keys = [self._keys.turn(ref.caller, ref.id), self._keys.log(ref.caller, ref.id)]
        reply = await self._client.run(self._read, keys, [_position(after), limit])
        if reply is None:
            return LogPage((), None)
        return LogPage(_entries(reply[2]), Status(reply[0].decode()), reply[1])

    async def follow(self, after: dict[TurnRef, int], wait_ms: int) -> dict[TurnRef, tuple[LogEntry, ...]]:
        """Block until one of these logs grows."""
        refs = {self._keys.log(ref.caller, ref.id).encode(): ref for ref in after}
        command: tuple[Arg, ...] = ("XREAD", "COUNT", 200, "BLOCK", wait_ms, "STREAMS", *refs)
        command += tuple(_position(number) for number in after.values())
        partition = self._keys.partition(next(iter(after)).caller)
        key = self._keys.open(partition)
        reply = await self._blocking.read(partition, key, command, wait_ms / 1000)
        return {refs[name]: _entries(entries) for name, entries in reply or ()}

    async def wake(self, partition: int) -> None:
        """Make a follow return."""
        await self._blocking.wake(partition)

    async def unfinished_turns(self, partition: int) -> list[Turn]:
        """All unfinished turns of a partition."""
        names = self._keys
        kinds = (names.turns, names.logs, names.segments, names.item_lists)
        keys = [names.open(partition), *(kind(partition) for kind in kinds)]
        rows = await self._client.run(self._sweep, keys, [self._lifetimes.session, *SWEPT])
        found = []
        for at, (member, *values) in enumerate(rows):
            if at % SLICE == SLICE - 1:
                await asyncio.sleep(0)  # a thousand rows at once would stop every stream for a while
            fields = {name: value for name, value in zip(SWEPT, values, strict=True) if value is not None}
            found.append(_turn(member.decode().split(":", 1)[1], fields))
        return found

    async def beat(self, owner: str, note: bytes) -> ClusterSnapshot:
        """Count this process up."""
        keys = [self._keys.nodes(), self._keys.mail(owner)]
        fields, mail = await self._client.run(self._beat, keys, [owner, note, BEATS])
        said = {name.decode(): value.split(b" ", 1) for name, value in zip(fields[::2], fields[1::2], strict=True)}
        counts = {name: int(count) for name, (count, _) in said.items()}
        refs = tuple(TurnRef(*letter.decode().rsplit(" ", 1)) for letter in mail)
        return ClusterSnapshot(counts, {name: note for name, (_, note) in said.items()}, refs)

    async def notify_owner(self, owner: str, ref: TurnRef) -> None:
        """Have an owner look at a turn."""
        key = self._keys.mail(owner)
        await self._client.call("RPUSH", key, f"{ref.caller} {ref.id}")
        await self._client.call("EXPIRE", key, MAIL)

    async def retire(self, owner: str, count: int) -> None:
        """Strike out a dead process."""
        await self._client.run(self._retire, [self._keys.nodes()], [owner, count])

    @property
    def what(self) -> str:
        """What kind of Redis this is, in words, once `check()` has asked it."""
        return self._client.what

    async def check(self) -> None:
        """Raises StoreDown, or StoreError for a Redis that is too old or evicts keys."""
        await self._client.check()

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(self._client.close(), self._blocking.close())


def _lease(lease: Lease | None) -> str:
    return "" if lease is None else f"{lease.fence}:{lease.owner}"


def _parsed(raw: bytes) -> Lease | None:
    fence, _, owner = raw.decode().partition(":")
    return Lease(int(fence), owner) if owner else None


def _outcome(reply: list[Any]) -> WriteResult:
    answer = WriteStatus(reply[0].decode())
    if answer is WriteStatus.BROKEN:
        return WriteResult(answer)
    return WriteResult(answer, reply[1], bool(reply[2]), _parsed(reply[3]))


def _position(after: int) -> str:
    """The id behind which the entries with events above `after` begin."""
    return f"{after}-{2**64 - 1}" if after >= 0 else "0-0"


def _entries(raw: list[Any]) -> tuple[LogEntry, ...]:
    """A stream's entries: the id is `<top>-<events>`, the fields are `e` and, in the last one, `end`."""
    found = []
    for id, fields in raw:
        top, _, events = id.partition(b"-")
        number = int(top)
        found.append(LogEntry(number, fields[1], number - int(events), len(fields) > 2))
    return tuple(found)


def _turn(id: str, fields: dict[str, bytes]) -> Turn:
    return Turn(
        ref=TurnRef(fields["caller"].decode(), id),
        status=Status(fields["status"].decode()),
        last_seq=int(fields["top"]),
        lease=_parsed(fields["lease"]),
        stop="stop" in fields,
        kept=fields["kept"] == b"1",
        conversation=fields["conversation"].decode() if "conversation" in fields else None,
        record={name[2:]: value for name, value in fields.items() if name.startswith("r:")},
        offered="offered" in fields,
        created_at=float(fields["created"]),
        claims=int(fields.get("claims", 0)),
        idle_claims=int(fields.get("idle", 0)) if fields.get("claimed_at") == fields["top"] else 0,
        viewer_reports=int(fields.get("looked", 0)),
    )
