"""`/v1/conversations` and their items."""

import hashlib
import secrets
import time
from typing import Any

import orjson
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from engine.offload import offloaded
from server.protocol import errors
from server.protocol.ids import check_id
from server.protocol.items import check_items, named
from server.protocol.request import check_metadata, convert, fingerprint, parse_object
from server.store.contracts import HistoryStore
from server.store.types import Conversation, Item
from server.web.auth import Authenticator
from server.web.bodies import JsonResponse, listing, paging, raw_listing, read_body

MOST_ITEMS = 20  # in one call, as the public API has it


class Conversations:
    """Conversations of the caller; the list of them is ours, the public API has none."""

    def __init__(self, authenticator: Authenticator, store: HistoryStore, *, max_body: int) -> None:
        self._authenticator = authenticator
        self._store = store
        self._max_body = max_body

    def routes(self) -> list[Route]:
        """The paths that are answered here."""
        at = "/v1/conversations"
        return [
            Route(at, self.create, methods=["POST"]),
            Route(at, self.index, methods=["GET"]),
            Route(at + "/{id}", self.retrieve, methods=["GET"]),
            Route(at + "/{id}", self.update, methods=["POST"]),
            Route(at + "/{id}", self.delete, methods=["DELETE"]),
            Route(at + "/{id}/items", self.add_items, methods=["POST"]),
            Route(at + "/{id}/items", self.items, methods=["GET"]),
            Route(at + "/{id}/items/{item}", self.item, methods=["GET"]),
            Route(at + "/{id}/items/{item}", self.delete_item, methods=["DELETE"]),
        ]

    async def create(self, http: HttpRequest) -> Response:
        """A new conversation, with its first items where some are given.

        The same `Idempotency-Key` with the same body is the same conversation: its id is made of the key.
        """
        caller = self._authenticator.http_caller(http.headers)
        body, size = await self._body(http)
        items = await offloaded(size, _items, [] if body.get("items") is None else body["items"])
        key = _idempotency_key(http)
        id = _digest(key) if key else secrets.token_hex(12)
        new = Conversation(f"conv_{id}", int(time.time()), _metadata(body))
        await self._store.create_conversation(caller, new, items, fingerprint(body) if key else "")
        if key:  # it may have been there, with another age and a turn that runs in it
            new = await self._store.conversation(caller, new.id) or new
        return JsonResponse(_shown(new))

    async def index(self, http: HttpRequest) -> Response:
        """A page of the caller's conversations, the newest first."""
        caller = self._authenticator.http_caller(http.headers)
        _, after, limit = paging(http)
        found = await self._store.conversations(caller, after, limit)
        return JsonResponse(listing([_shown(each) for each in found.data], more=found.more))

    async def retrieve(self, http: HttpRequest) -> Response:
        """A conversation by its id, without its items."""
        return JsonResponse(_shown(await self._found(http)))

    async def update(self, http: HttpRequest) -> Response:
        """Replace the metadata; the answer is the conversation as it is then."""
        found = await self._found(http)
        body, _ = await self._body(http)
        metadata = _metadata(body)
        caller = self._authenticator.http_caller(http.headers)
        return JsonResponse(_shown(await self._store.set_metadata(caller, found.id, metadata)))

    async def delete(self, http: HttpRequest) -> Response:
        """Delete it with its items."""
        id = _id(http)
        if not await self._store.delete_conversation(self._authenticator.http_caller(http.headers), id):
            raise errors.not_found("conversation", id)
        return JsonResponse({"id": id, "object": "conversation.deleted", "deleted": True})

    async def add_items(self, http: HttpRequest) -> Response:
        """Append up to 20 items."""
        caller, id = self._authenticator.http_caller(http.headers), _id(http)
        body, size = await self._body(http)
        items = await offloaded(size, _items, body.get("items"))
        await self._store.add_items(caller, id, items)
        return raw_listing([item.json for item in items], more=False)

    async def items(self, http: HttpRequest) -> Response:
        """A page of a conversation's items."""
        caller = self._authenticator.http_caller(http.headers)
        order, after, limit = paging(http)
        found = await self._store.items(caller, _id(http), after, limit, newest=order == "desc")
        return raw_listing(found.data, more=found.more)

    async def item(self, http: HttpRequest) -> Response:
        """An item of a conversation by its id."""
        found = await self._found(http)
        id = _item_id(http)
        item = await self._store.item(self._authenticator.http_caller(http.headers), found.id, id)
        if item is None:
            raise errors.not_found("item", id)
        return Response(item, media_type="application/json")

    async def delete_item(self, http: HttpRequest) -> Response:
        """Take one item out; the answer is the conversation."""
        found = await self._found(http)
        id = _item_id(http)
        if not await self._store.delete_item(self._authenticator.http_caller(http.headers), found.id, id):
            raise errors.not_found("item", id)
        return JsonResponse(_shown(found))

    async def _found(self, http: HttpRequest) -> Conversation:
        id = _id(http)
        found = await self._store.conversation(self._authenticator.http_caller(http.headers), id)
        if found is None:
            raise errors.not_found("conversation", id)
        return found

    async def _body(self, http: HttpRequest) -> tuple[dict[str, Any], int]:
        """What was sent, and how many bytes it had."""
        raw = await read_body(http, self._max_body) or b"{}"
        return await offloaded(len(raw), parse_object, raw), len(raw)


def _id(http: HttpRequest) -> str:
    """The conversation that the path names. Raises WireError 404."""
    return check_id("conversation", http.path_params["id"])


def _item_id(http: HttpRequest) -> str:
    """The item that the path names. Raises WireError 404."""
    return check_id("item", http.path_params["item"])


def _idempotency_key(http: HttpRequest) -> str | None:
    """What makes a repeated call the same call. Raises WireError 400."""
    key = http.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise errors.invalid("'Idempotency-Key' must have 1 to 255 characters.", "idempotency_key")
    return key


def _digest(key: str) -> str:
    """The part of an id that an idempotency key stands for, as long as a random one."""
    return hashlib.blake2b(key.encode(), digest_size=12).hexdigest()


def _items(items: Any) -> list[Item]:
    if not isinstance(items, list) or len(items) > MOST_ITEMS:
        raise errors.invalid(f"Invalid 'items': expected a list of at most {MOST_ITEMS} items.", "items")
    check_items(items, "items")
    return [Item(item["id"], orjson.dumps(item)) for item in named(items, secrets.token_hex(12))]


def _metadata(body: dict[str, Any]) -> dict[str, str]:
    metadata: dict[str, str] = convert(
        {} if body.get("metadata") is None else body["metadata"], dict[str, str], "metadata"
    )
    check_metadata(metadata)
    return metadata


def _shown(conversation: Conversation) -> dict[str, Any]:
    """The official object, with the running turn of ours."""
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created_at,
        "metadata": conversation.metadata,
        "active_response_id": conversation.active,
    }
