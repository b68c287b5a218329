"""Pages of items that are JSON already."""

from typing import Any

import orjson
import pytest
from starlette.requests import Request

from server.protocol.errors import WireError
from server.web.bodies import page

ITEMS = [orjson.dumps({"id": f"msg_{n}", "content": f'not "msg_{n + 1}"'}) for n in range(5)]


def shown(query: str) -> dict[str, Any]:
    scope = {"type": "http", "query_string": query.encode(), "headers": []}
    body: dict[str, Any] = orjson.loads(bytes(page(Request(scope), ITEMS).body))
    return body


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("", "43210", False),
        ("order=asc", "01234", False),
        ("order=asc&limit=2", "01", True),
        ("order=asc&after=msg_2", "34", False),
        ("after=msg_2&limit=1", "1", True),
        ("order=asc&after=msg_4", "", False),
    ],
)
def test_pages(query: str, ids: str, *, more: bool) -> None:
    body = shown(query)
    assert [item["id"] for item in body["data"]] == [f"msg_{n}" for n in ids]
    ends = (f"msg_{ids[0]}", f"msg_{ids[-1]}") if ids else (None, None)
    assert (body["object"], body["first_id"], body["last_id"], body["has_more"]) == ("list", *ends, more)


@pytest.mark.parametrize("after", ["msg_9", "x" * 100_000, "a b"])
def test_a_page_behind_nothing_is_not_found(after: str) -> None:
    with pytest.raises(WireError) as caught:
        shown(f"after={after}")
    assert (caught.value.status, caught.value.code) == (404, "not_found")
