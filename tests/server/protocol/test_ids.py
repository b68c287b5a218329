"""The shape of ids."""

import pytest

from server.protocol.connection import Connection
from server.protocol.errors import WireError
from server.protocol.ids import MAX_ID, check_id, check_previous, is_id
from server.protocol.request import parse_request
from tests.server.protocol.frames import create, only_error

STRANGE = ["", "x" * (MAX_ID + 1), "x" * 1_000_000, "a b", "a\nb", "é", "\x00"]


@pytest.mark.parametrize("id", ["resp_0123456789abcdef01234567", "x", "x" * MAX_ID, "a/b:c"])
def test_ids_that_may_be_ours(id: str) -> None:
    assert is_id(id)
    assert check_id("response", id) == id


@pytest.mark.parametrize("id", STRANGE)
def test_what_cannot_be_an_id_is_not_found(id: str) -> None:
    with pytest.raises(WireError) as caught:
        check_id("response", id)
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    assert len(caught.value.message) < 200
    with pytest.raises(WireError) as caught:
        check_previous(id)
    assert (caught.value.status, caught.value.code) == (400, "previous_response_not_found")


@pytest.mark.parametrize("id", STRANGE)
@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "conversation.id"])
def test_a_request_names_them_as_if_nobody_knew_them(field: str, id: str) -> None:
    body = {"conversation": {"id": id}} if field == "conversation.id" else {field: id}
    with pytest.raises(WireError) as caught:
        parse_request({"input": "Hi", **body})
    assert caught.value.code == ("previous_response_not_found" if field.startswith("prev") else "not_found")


@pytest.mark.parametrize("id", STRANGE)
@pytest.mark.parametrize("type", ["throughline:cancel", "throughline:resume"])
def test_a_question_about_one_is_answered_at_once(type: str, id: str) -> None:
    error = only_error(Connection().receive(create(type=type, response_id=id)))
    assert (error["status"], error["error"]["code"]) == (404, "not_found")
    assert only_error(Connection().resume(id, None, None))["error"]["code"] == "not_found"


def test_errors_quote_no_more_than_a_line() -> None:
    long = "x" * 1_000_000
    for field, value in (
        ("model", 3),
        ("include", [long]),
        ("input", [{"type": long}]),
        ("tool_choice", {"type": long}),
    ):
        error = only_error(Connection().receive(create(**{field: value})))["error"]
        assert len(error["message"]) <= 1000
