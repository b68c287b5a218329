"""How the text of a body may be written: encodings, numbers, and what JSON leaves open."""

import codecs

import orjson
import pytest

from tests.server.peer import client, socket
from tests.serving import Served

TEXT = '{"input":"[tokens=1]","metadata":{"t":"ä"}}'


@pytest.mark.parametrize(
    "type",
    ["application/json", "application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded",
     "application/json; charset=latin-1", "multipart/form-data; boundary=x", "nonsense", ""],
)  # fmt: skip
async def test_json_is_read_whatever_the_content_type_says(served: Served, type: str) -> None:
    """curl says `x-www-form-urlencoded` of everything; JSON is UTF-8 by its own standard."""
    async with client(served) as http:
        answer = await http.post("responses", content=TEXT.encode(), headers={"content-type": type})
        assert answer.json()["metadata"] == {"t": "ä"}


async def test_a_byte_order_mark_is_no_part_of_the_text(served: Served) -> None:
    async with client(served) as http:
        answer = await http.post("responses", content=codecs.BOM_UTF8 + TEXT.encode())
        assert answer.json()["metadata"] == {"t": "ä"}
    async with socket(served) as peer:
        await peer.socket.send("\ufeff" + orjson.dumps({"type": "response.create", "input": "[tokens=1]"}).decode())
        assert (await peer.turn())[-1]["type"] == "response.completed"


BAD = {
    "utf-16": (TEXT.encode("utf-16"), "must be in UTF-8, and looks like UTF-16"),
    "utf-16 without a mark": (TEXT.encode("utf-16-le"), "must be in UTF-8, and looks like UTF-16"),
    "utf-16, the other end first": (TEXT.encode("utf-16-be"), "must be in UTF-8, and looks like UTF-16"),
    "utf-32": (TEXT.encode("utf-32"), "must be in UTF-8, and looks like UTF-16 or UTF-32"),
    "latin-1": (TEXT.encode("latin-1"), "must be in UTF-8, and byte 39 is not"),
    "a surrogate in UTF-8": (b'{"input":"\xed\xa0\x80"}', "must be in UTF-8, and byte 10 is not"),
    "cut": (b'{"input":"\xf0\x9f\x98"}', "must be in UTF-8"),
    "a lone surrogate": (rb'{"input":"\ud800"}', "surrogate in string"),
    "a lone low surrogate": (rb'{"input":"\udc00"}', "surrogate in string"),
    "NaN": (b'{"input":"x","temperature":NaN}', "line 1 column 28"),
    "Infinity": (b'{"input":"x","temperature":Infinity}', "line 1 column 28"),
    "too large a number": (b'{"input":"x","temperature":1e999}', "number is infinity"),
    "a raw null character": (b'{"input":"a\0b"}', "control character in string"),
    "a raw line end": (b'{"input":"a\nb"}', "control character in string"),
    "two documents": (b'{"input":"x"}{}', "unexpected content after document"),
    "a form": (b"input=x&model=y", "not valid JSON"),
    "two marks": (codecs.BOM_UTF8 * 2 + b"{}", "not valid JSON"),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_is_wrong_with_a_text_is_told(served: Served, case: str) -> None:
    body, reason = BAD[case]
    async with client(served) as http:
        for path in ("responses", "responses/input_tokens", "conversations", "conversations/c/items"):
            answer = await http.post(path, content=body)
            assert answer.status_code == 400, path
            assert reason in answer.json()["error"]["message"]


async def test_of_two_members_with_one_name_the_last_counts(served: Served) -> None:
    async with client(served) as http:
        made = await http.post("responses", content=b'{"input":[],"metadata":{"a":"1","a":"2"},"input":"[tokens=1]"}')
        assert made.json()["metadata"] == {"a": "2"}


async def test_null_characters_are_characters(served: Served) -> None:
    """In texts they are kept; an id that holds one names nothing."""
    async with client(served) as http:
        metadata = {"a\0": "\0b", "c": "\0"}
        made = (await http.post("responses", json={"input": "a\0b [tokens=2]", "metadata": metadata})).json()
        assert made["metadata"] == metadata
        items = (await http.get(f"responses/{made['id']}/input_items")).json()["data"]
        assert items[0]["content"][0]["text"] == "a\0b [tokens=2]"
        follows = await http.post("responses", json={"input": "[tokens=1]", "previous_response_id": made["id"]})
        assert follows.json()["status"] == "completed"
        conversation = (await http.post("conversations", json={"metadata": metadata})).json()
        assert (await http.get(f"conversations/{conversation['id']}")).json()["metadata"] == metadata
        for path in (
            "responses/%00",
            "responses/a%00b/input_items",
            "conversations/%00",
            "conversations/a%0D%0Ab/items",
        ):
            assert (await http.get(path)).status_code == 404, path
        for field in ("previous_response_id", "conversation", "model"):
            answer = await http.post("responses", json={"input": "x", field: "a\0b"})
            assert answer.status_code in {400, 404}, field
        once = {"input": "[tokens=1]", "idempotency_key": "a\0b"}
        first, second = [(await http.post("responses", json=once)).json() for _ in range(2)]
        assert first["id"] == second["id"]
