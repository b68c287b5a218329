"""Bodies of HTTP: reading one within its limit, and lists by the public rules of paging."""

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from server.protocol import errors
from server.protocol.ids import check_id
from server.web.content_coding import coding_of, decoded, too_large


class JsonResponse(Response):
    """An answer in JSON, written by orjson: ten times as fast as the standard library, which Starlette uses."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """See `Response.render`."""
        return orjson.dumps(content)


async def read_body(http: HttpRequest, limit: int) -> bytes:
    """The body, at most `limit` bytes, as it came and as it was meant. Raises WireError 400, 413, 415."""
    coding = coding_of(http.headers.getlist("content-encoding"))
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body) if coding is None else await decoded(bytes(body), coding, limit)


def page(http: HttpRequest, items: Sequence[bytes]) -> Response:
    """One page of items given oldest first as JSON, by the public rules: `order`, `after`, `limit`. Raises WireError.

    Only what must be read of the items is read, for there may be thousands, and each may be long.
    """
    order, after, limit = paging(http)
    if order == "desc":
        items = items[::-1]
    if after is not None:
        items = items[_place(items, after) + 1 :]
    return raw_listing(items[:limit], more=len(items) > limit)


def _place(items: Sequence[bytes], id: str) -> int:
    """The index of the item with this id. Raises WireError 404."""
    quoted = orjson.dumps(id)
    found = (at for at, item in enumerate(items) if quoted in item and orjson.loads(item)["id"] == id)
    at = next(found, None)
    if at is None:
        raise errors.not_found("item", id)
    return at


def paging(http: HttpRequest) -> tuple[str, str | None, int]:
    """`order`, `after` and `limit` of a listing. Raises WireError."""
    order = http.query_params.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise errors.invalid("Invalid 'order': expected 'asc' or 'desc'.", "order")
    limit = http.query_params.get("limit", "20")
    if not limit.isascii() or not limit.isdigit() or len(limit) > 3 or not 1 <= int(limit) <= 100:
        raise errors.invalid("Invalid 'limit': expected a number from 1 to 100.", "limit")
    after = http.query_params.get("after")
    return order, None if after is None else check_id("item", after), int(limit)


def listing(data: list[Any], *, more: bool) -> dict[str, Any]:
    """The public API's list object around one page of objects that have ids."""
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": more}


def raw_listing(items: Sequence[bytes], *, more: bool) -> Response:
    """The same of objects that are JSON already, as an answer."""
    first, last = (orjson.loads(items[at])["id"] if items else None for at in (0, -1))
    body = b'{"object":"list","data":[%b],"first_id":%b,"last_id":%b,"has_more":%b}'
    filled = body % (b",".join(items), orjson.dumps(first), orjson.dumps(last), orjson.dumps(more))
    return Response(filled, media_type="application/json")
