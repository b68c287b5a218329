"""The HTTP side of responses: the same turns, the same log, the same viewers as the WebSocket."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from server.log.subscriber import LogSubscriber
from server.node.admission import Admitted
from server.node.node import Node
from server.protocol import errors
from server.protocol.connection import position
from server.protocol.errors import WireError
from server.protocol.request import fingerprint, parse_object, parse_request
from server.protocol.status import FINAL
from server.store.contracts import Store
from server.store.errors import PositionLost, StoreError
from server.store.types import TurnRef, WriteStatus
from server.turns.prompt import TurnRequest
from server.turns.spec import TurnSpec, unpack
from server.turns.subscription import TurnSubscription, turn_at
from server.web.gate import Gate

T = TypeVar("T")

KEEP_ALIVE = 15.0  # seconds between comments on a quiet stream
CANCEL_WAIT = 5.0  # seconds that a cancel waits for the turn's end


class Responses:
    """`/v1/responses` and what hangs below it."""

    def __init__(self, gate: Gate, node: Node, store: Store, watcher: LogSubscriber, *, max_body: int) -> None:
        self.gate = gate
        self.node = node
        self.store = store
        self.watcher = watcher
        self.max_body = max_body

    def routes(self) -> list[Route]:
        """The routing table."""
        return [
            Route("/v1/responses", self.create, methods=["POST"]),
            Route("/v1/responses", self.upgrade_required, methods=["GET"]),
            Route("/v1/responses/input_tokens", self.input_tokens, methods=["POST"]),
            Route("/v1/responses/{id}", self.retrieve, methods=["GET"]),
            Route("/v1/responses/{id}", self.delete, methods=["DELETE"]),
            Route("/v1/responses/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/v1/responses/{id}/input_items", self.input_items, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{id:path}", self.model, methods=["GET"]),
            Route("/v1/tickets", self.ticket, methods=["POST"]),
        ]

    # -- turns ---------------------------------------------------------------------------------------------------

    async def create(self, http: HttpRequest) -> Response:
        """Run a turn: the finished response, or its events as SSE, or at once with `background`."""
        ask = await self._ask(http)
        try:
            admitted = await self.node.create(ask)
        except WireError as error:
            if error.response is None or ask.request.stream:
                raise
            return JSONResponse(error.response)  # the same request, answered long ago
        viewer = self._viewer(admitted.ref, admitted.record, -1)
        if ask.request.stream:
            return self._stream(viewer)
        if ask.request.background:
            return JSONResponse(admitted.record.response | {"status": await self._status(admitted)})
        return JSONResponse(await self._end(http, viewer))

    async def input_tokens(self, http: HttpRequest) -> Response:
        """How many tokens a request's input has."""
        count = await self.node.count(await self._ask(http))
        return JSONResponse({"object": "response.input_tokens", "input_tokens": count})

    async def retrieve(self, http: HttpRequest) -> Response:
        """A response as it is now, or its events from a position."""
        ref = self._ref(http)
        if http.query_params.get("stream") == "true":
            return await self._replay(ref, position(http.query_params.get("starting_after")))
        turn = await self.store.turn(ref)
        stored = await self.store.response(ref)
        if stored is not None:
            return Response(stored.response, media_type="application/json")
        if turn is None:
            raise errors.not_found("response", ref.id)
        return JSONResponse(unpack(turn.record).response | {"status": turn.status})

    async def cancel(self, http: HttpRequest) -> Response:
        """Stop a turn, and say how it ended."""
        ref = self._ref(http)
        outcome = await self.node.cancel(ref)
        if outcome.status is WriteStatus.OK:
            await self._wait_for_end(ref)
        return await self.retrieve(http)

    async def delete(self, http: HttpRequest) -> Response:
        """Forget a response; one that runs is stopped first."""
        ref = self._ref(http)
        if (await self.node.cancel(ref)).status is WriteStatus.OK:
            await self._wait_for_end(ref)
        if not await self.store.delete(ref):
            raise errors.not_found("response", ref.id)
        return JSONResponse({"id": ref.id, "object": "response", "deleted": True})

    async def input_items(self, http: HttpRequest) -> Response:
        """What the turn was asked with."""
        ref = self._ref(http)
        items = await self.store.input_items(ref)
        if items is None:
            raise errors.not_found("response", ref.id)
        return JSONResponse(page(http, [orjson.loads(item) for item in items]))

    # -- models and tickets --------------------------------------------------------------------------------------

    async def models(self, http: HttpRequest) -> Response:
        """The one model that is served here."""
        self.gate.http(http.headers)
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, http: HttpRequest) -> Response:
        """A model by its name."""
        self.gate.http(http.headers)
        if http.path_params["id"] != self.node.name:
            raise errors.unknown_model(http.path_params["id"], self.node.name)
        return JSONResponse(self._model())

    async def ticket(self, http: HttpRequest) -> Response:
        """A single-use ticket, for browsers, which cannot send headers on a WebSocket."""
        return JSONResponse(await self.gate.ticket(self.gate.http(http.headers)))

    async def upgrade_required(self, http: HttpRequest) -> Response:
        """A plain GET where a WebSocket is meant."""
        self.gate.http(http.headers)
        raise WireError(426, "upgrade_required", "Open this address as a WebSocket, or POST a request to it.")

    # -- inside --------------------------------------------------------------------------------------------------

    async def _ask(self, http: HttpRequest) -> TurnRequest:
        caller = self.gate.http(http.headers)
        body = parse_object(await read_body(http, self.max_body))
        key = http.headers.get("idempotency-key")
        request = parse_request(body if key is None else {"idempotency_key": key, **body})
        headers = {"traceparent": http.headers.get("traceparent", "")}
        return TurnRequest(caller, request, fingerprint(body), headers=headers)

    def _ref(self, http: HttpRequest) -> TurnRef:
        return TurnRef(self.gate.http(http.headers), http.path_params["id"])

    def _model(self) -> dict[str, Any]:
        return {"id": self.node.name, "object": "model", "created": self.node.born, "owned_by": "throughline"}

    async def _status(self, admitted: Admitted) -> str:
        turn = await self.store.turn(admitted.ref)
        return turn.status if turn is not None else "in_progress"

    def _viewer(self, ref: TurnRef, record: TurnSpec, after: int) -> TurnSubscription:
        return TurnSubscription(self.watcher, self.node.presence, ref, record, after)

    async def _end(self, http: HttpRequest, viewer: TurnSubscription) -> dict[str, Any]:
        """The finished response, for as long as the client waits for it."""
        try:
            final = await while_connected(http, viewer.end())
        except PositionLost:
            final = None
        if final is not None:
            return final
        stored = await self.store.response(viewer.ref)
        if stored is None:
            raise errors.not_found("response", viewer.ref.id) from None
        kept: dict[str, Any] = orjson.loads(stored.response)
        return kept

    async def _wait_for_end(self, ref: TurnRef) -> None:
        turn = await self.store.turn(ref)
        if turn is None:
            return
        viewer = self._viewer(ref, unpack(turn.record), turn.last_seq)
        try:
            async with asyncio.timeout(CANCEL_WAIT):
                await viewer.end()
        except (TimeoutError, PositionLost):
            return

    async def _replay(self, ref: TurnRef, after: int) -> Response:
        turn = await turn_at(self.store, ref, after)
        if turn is not None and (turn.last_seq >= after or turn.status not in FINAL):
            return self._stream(self._viewer(ref, unpack(turn.record), after))
        stored = await self.store.response(ref)
        if stored is None:
            raise errors.not_found("response", ref.id)
        raise errors.position_lost("This position is not in the log.", orjson.loads(stored.response))

    def _stream(self, viewer: TurnSubscription) -> Response:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._sse(viewer), media_type="text/event-stream", headers=headers)

    async def _sse(self, viewer: TurnSubscription) -> AsyncIterator[bytes]:
        """Frames as they come, comments where nothing comes; an error is the last event."""
        try:
            async for frames in quietly(viewer.frames(), KEEP_ALIVE):
                yield b"".join(map(_event, frames)) if frames else b": keep-alive\n\n"
        except (PositionLost, StoreError) as error:
            yield _error(error)


async def quietly(frames: AsyncIterator[list[bytes]], quiet: float) -> AsyncIterator[list[bytes]]:
    """The same, with an empty list whenever nothing came for `quiet` seconds."""
    following = asyncio.ensure_future(anext(frames, None))
    try:
        while True:
            await asyncio.wait({following}, timeout=quiet)
            if not following.done():
                yield []
                continue
            value = following.result()
            if value is None:
                return
            following = asyncio.ensure_future(anext(frames, None))
            yield value
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def while_connected(http: HttpRequest, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves. Raises ClientDisconnect."""
    working = asyncio.create_task(work)
    leaving = asyncio.ensure_future(http.receive())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def read_body(http: HttpRequest, limit: int) -> bytes:
    """The body, at most `limit` bytes. Raises WireError 413."""
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > limit:
            raise WireError(413, "request_too_large", f"The body is larger than {limit} bytes.")
    return bytes(body)


def page(http: HttpRequest, items: list[dict[str, Any]]) -> dict[str, Any]:
    """One page of items given oldest first, by the public rules: `order`, `after`, `limit`."""
    order, after, limit = paging(http)
    if order == "desc":
        items.reverse()
    if after is not None:
        at = next((index for index, item in enumerate(items) if item["id"] == after), None)
        if at is None:
            raise errors.not_found("item", after)
        items = items[at + 1 :]
    return listing(items[:limit], more=len(items) > limit)


def paging(http: HttpRequest) -> tuple[str, str | None, int]:
    """`order`, `after` and `limit` of a listing. Raises WireError."""
    order = http.query_params.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise errors.invalid("Invalid 'order': expected 'asc' or 'desc'.", "order")
    limit = http.query_params.get("limit", "20")
    if not limit.isascii() or not limit.isdigit() or len(limit) > 3 or not 1 <= int(limit) <= 100:
        raise errors.invalid("Invalid 'limit': expected a number from 1 to 100.", "limit")
    return order, http.query_params.get("after"), int(limit)


def listing(data: list[Any], *, more: bool) -> dict[str, Any]:
    """The official list object."""
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": more}


def _event(frame: bytes) -> bytes:
    name = frame[9 : frame.index(b'"', 9)]
    return b"event: %b\ndata: %b\n\n" % (name, frame)


def _error(error: Exception) -> bytes:
    wire = (
        errors.position_lost(str(error))
        if isinstance(error, PositionLost)
        else errors.overloaded("The log is not available.")
    )
    event = {"type": "error", "sequence_number": 0, "code": wire.code, "message": wire.message, "param": wire.param}
    return _event(orjson.dumps(event))
