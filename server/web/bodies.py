"""Bodies of HTTP: reading one within its limit, and lists by the public rules of paging."""

from typing import Any

from starlette.requests import Request as HttpRequest

from server.protocol import errors
from server.web.content_coding import coding_of, decoded, too_large


async def read_body(http: HttpRequest, limit: int) -> bytes:
    """The body, at most `limit` bytes, as it came and as it was meant. Raises WireError 400, 413, 415."""
    coding = coding_of(http.headers.getlist("content-encoding"))
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body) if coding is None else await decoded(bytes(body), coding, limit)


def page(http: HttpRequest, items: list[dict[str, Any]]) -> dict[str, Any]:
    """One page of items given oldest first, by the public rules: `order`, `after`, `limit`. Raises WireError."""
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
    """The public API's list object around one page of objects that have ids."""
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": more}
