"""The HTTP side of responses: the same turns, the same log, the same subscriptions as over a WebSocket."""

import asyncio
from collections.abc import Coroutine
from contextlib import nullcontext
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from engine.offload import offloaded
from server.node.node import Node
from server.node.service import TurnService
from server.protocol import errors
from server.protocol.connection import position
from server.protocol.errors import WireError
from server.protocol.ids import check_id
from server.protocol.request import Request, fingerprint, memory_size, parse_object, parse_request
from server.store.types import TurnRef
from server.turns.prompt import TurnRequest
from server.web.auth import Authenticator
from server.web.bodies import JsonResponse, page, read_body
from server.web.callers import WaitingCallers, stopping
from server.web.sse import empty_stream, event_stream

T = TypeVar("T")


class Responses:
    """`/v1/responses` and what hangs below it; models and tickets."""

    def __init__(
        self, authenticator: Authenticator, service: TurnService, node: Node, callers: WaitingCallers, *, max_body: int
    ) -> None:
        self._callers = callers
        self._authenticator = authenticator
        self._service = service
        self._node = node
        self._max_body = max_body

    def routes(self) -> list[Route]:
        """The paths that are answered here."""
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
        asked = await self._turn_request(http)
        try:
            admitted = await while_connected(http, self._service.create(asked))
        except WireError as error:
            if error.response is None or asked.request.stream:
                raise
            return JsonResponse(error.response)  # the same request, answered long ago
        subscription = self._service.subscribe(admitted.ref, admitted.spec, -1)
        streams, is_background = asked.request.stream, asked.request.background
        del asked  # nobody needs it while its answer is awaited
        if streams:
            return event_stream(subscription, self._callers)
        if is_background:
            return JsonResponse(admitted.spec.response | {"status": await self._service.status(admitted.ref)})
        return JsonResponse(await while_connected(http, self._service.wait_for_response(subscription), self._callers))

    async def input_tokens(self, http: HttpRequest) -> Response:
        """How many tokens a request's input has."""
        count = await while_connected(http, self._service.count_tokens(await self._turn_request(http)))
        return JsonResponse({"object": "response.input_tokens", "input_tokens": count})

    async def retrieve(self, http: HttpRequest) -> Response:
        """A response as it is now, or its events from a position."""
        ref = self._ref(http)
        if http.query_params.get("stream") == "true":
            subscription = await self._service.replay(ref, position(http.query_params.get("starting_after")))
            return event_stream(subscription, self._callers) if http.method == "GET" else empty_stream()  # HEAD
        return Response(await self._service.response(ref), media_type="application/json")

    async def cancel(self, http: HttpRequest) -> Response:
        """Stop a turn, and say how it ended."""
        await self._service.stop(self._ref(http))
        return await self.retrieve(http)

    async def delete(self, http: HttpRequest) -> Response:
        """Forget a response; one that runs is stopped first."""
        ref = self._ref(http)
        await self._service.delete(ref)
        return JsonResponse({"id": ref.id, "object": "response", "deleted": True})

    async def input_items(self, http: HttpRequest) -> Response:
        """What the turn was asked with."""
        return page(http, await self._service.input_items(self._ref(http)))

    # -- models and tickets --------------------------------------------------------------------------------------

    async def models(self, http: HttpRequest) -> Response:
        """The one model that is served here."""
        self._authenticator.http_caller(http.headers)
        return JsonResponse({"object": "list", "data": [self._model()]})

    async def model(self, http: HttpRequest) -> Response:
        """A model by its name."""
        self._authenticator.http_caller(http.headers)
        if http.path_params["id"] != self._node.config.name:
            raise errors.unknown_model(http.path_params["id"], self._node.config.name)
        return JsonResponse(self._model())

    async def ticket(self, http: HttpRequest) -> Response:
        """A single-use ticket, for browsers, which cannot send headers on a WebSocket."""
        return JsonResponse(await self._authenticator.make_ticket(http.headers))

    async def upgrade_required(self, http: HttpRequest) -> Response:
        """A plain GET where a WebSocket is meant."""
        self._authenticator.http_caller(http.headers)
        raise WireError(426, "upgrade_required", "Open this address as a WebSocket, or POST a request to it.")

    # -- inside --------------------------------------------------------------------------------------------------

    async def _turn_request(self, http: HttpRequest) -> TurnRequest:
        caller = self._authenticator.http_caller(http.headers)
        raw = await read_body(http, self._max_body)
        request, digest = await offloaded(len(raw), _read_request, raw, http.headers.get("idempotency-key"))
        traceparent = http.headers.get("traceparent", "")
        size, weight = len(raw), memory_size(raw)
        return TurnRequest(caller, request, digest, traceparent=traceparent, size=size, weight=weight)

    def _ref(self, http: HttpRequest) -> TurnRef:
        caller = self._authenticator.http_caller(http.headers)
        return TurnRef(caller, check_id("response", http.path_params["id"]))

    def _model(self) -> dict[str, Any]:
        node = self._node
        return {"id": node.config.name, "object": "model", "created": node.created, "owned_by": "throughline"}


def _read_request(raw: bytes, key: str | None) -> tuple[Request, str]:
    """The request of a body, checked, and its fingerprint; `key` is what the header says. Raises WireError."""
    body = parse_object(raw)
    return parse_request(body if key is None else {"idempotency_key": key, **body}), fingerprint(body)


async def while_connected(http: HttpRequest, work: Coroutine[Any, Any, T], callers: WaitingCallers | None = None) -> T:
    """The result of `work`, which is cancelled when the client leaves, or when `callers` may wait no longer.

    Raises ClientDisconnect, or WireError 503.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.ensure_future(http.receive())
    try:
        with nullcontext() if callers is None else callers.waiting(working.cancel):
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        if working.cancelled():
            raise stopping()
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
