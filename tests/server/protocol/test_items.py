"""Input and output items: checked, named, and read as chat messages."""

from typing import Any

import pytest
from openai.types.responses.response_item import ResponseItem
from pydantic import TypeAdapter

from server.protocol.errors import WireError
from server.protocol.items import ROLES, TEXT_PARTS, check_items, kind_of, named, text_of, to_messages
from tests.server.protocol import clients, sdk

USER: dict[str, Any] = {"role": "user", "content": "Hi"}
CALL: dict[str, Any] = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
OUTPUT: dict[str, Any] = {"type": "function_call_output", "call_id": "c1", "output": "a cat"}
THOUGHT: dict[str, Any] = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}], "summary": []}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def param_of(item: Any) -> str | None:
    with pytest.raises(WireError) as caught:
        check_items([USER, item], "input")
    return caught.value.param


class TestCheck:
    """The first thing that is wrong is named by its path."""

    @pytest.mark.parametrize("role", sorted(ROLES))
    @pytest.mark.parametrize("typed", [{}, {"type": "message"}, {"type": None}])
    @pytest.mark.parametrize(
        "content", ["Hi", "", [], *([{"type": part, "text": "Hi"}] for part in sorted(TEXT_PARTS))]
    )
    def test_messages(self, role: str, typed: dict[str, Any], content: Any) -> None:
        check_items([{"role": role, "content": content} | typed], "input")

    @pytest.mark.parametrize(
        "item",
        [
            CALL,
            OUTPUT,
            OUTPUT | {"output": [{"type": "input_text", "text": "a cat"}]},
            THOUGHT,
            {"type": "reasoning", "summary": []},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": None},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        ],
    )
    def test_other_items(self, item: dict[str, Any]) -> None:
        check_items([item], "input")

    @pytest.mark.parametrize("clients_items", [clients.codex_frame(), clients.agents_full_input()])
    def test_items_of_real_clients(self, clients_items: dict[str, Any]) -> None:
        check_items(clients_items["input"], "input")

    @pytest.mark.parametrize(
        ("item", "param"),
        [
            ("Hi", "input[1]"),
            (None, "input[1]"),
            ({}, "input[1].type"),
            ({"type": "computer_call"}, "input[1].type"),
            ({"type": 5}, "input[1].type"),
            ({"type": ["message"]}, "input[1].type"),
            ({"type": "message", "content": "Hi"}, "input[1].role"),
            ({"role": "tool", "content": "Hi"}, "input[1].role"),
            ({"role": {}, "content": "Hi"}, "input[1].role"),
            ({"role": "user"}, "input[1].content"),
            ({"role": "user", "content": {"text": "Hi"}}, "input[1].content"),
            ({"role": "user", "content": ["Hi"]}, "input[1].content[0]"),
            ({"role": "user", "content": [{"text": "Hi"}]}, "input[1].content[0].type"),
            ({"role": "user", "content": [{"type": "input_file"}]}, "input[1].content[0].type"),
            ({"role": "user", "content": [{"type": ["text"], "text": "Hi"}]}, "input[1].content[0].type"),
            ({"role": "user", "content": [{"type": "input_text"}]}, "input[1].content[0].text"),
            ({"role": "user", "content": [{"type": "input_text", "text": 5}]}, "input[1].content[0].text"),
            (CALL | {"arguments": {}}, "input[1].arguments"),
            (CALL | {"name": None}, "input[1].name"),
            (CALL | {"call_id": 1}, "input[1].call_id"),
            (OUTPUT | {"call_id": None}, "input[1].call_id"),
            (OUTPUT | {"output": {}}, "input[1].output"),
            (OUTPUT | {"output": None}, "input[1].output"),
            (THOUGHT | {"content": 5}, "input[1].content"),
            (THOUGHT | {"summary": [5]}, "input[1].summary[0]"),
        ],
    )
    def test_what_is_wrong_is_named(self, item: Any, param: str) -> None:
        assert param_of(item) == param


class TestNamed:
    """Items as they are stored and listed."""

    VARIANTS: tuple[dict[str, Any], ...] = (
        *({"role": role, "content": "Hi"} for role in sorted(ROLES)),
        *({"role": role, "content": [{"type": "text", "text": "Hi"}]} for role in sorted(ROLES)),
        *({"role": role, "content": [{"type": "input_text", "text": "Hi"}]} for role in sorted(ROLES)),
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        CALL,
        OUTPUT,
        OUTPUT | {"output": [{"type": "input_text", "text": "a cat"}]},
        THOUGHT,
        {"type": "reasoning", "content": "Hm.", "summary": "In short: hm."},
        {"type": "reasoning", "encrypted_content": "x"},
    )

    @pytest.mark.parametrize("item", VARIANTS)
    def test_the_sdk_reads_what_is_listed(self, item: dict[str, Any]) -> None:
        check_items([item], "input")
        [listed] = named([item], "abc")
        assert list(sdk.unknown(TypeAdapter(ResponseItem).validate_python(listed))) == []

    def test_ids_are_ours_and_tell_the_kind(self) -> None:
        items = [USER | {"id": "msg_theirs"}, CALL, OUTPUT, THOUGHT]
        assert [item["id"] for item in named(items, "abc")] == ["msg_abc00", "fc_abc01", "fco_abc02", "rs_abc03"]

    def test_a_status_is_kept(self) -> None:
        [listed] = named([CALL | {"status": "incomplete"}], "abc")
        assert listed["status"] == "incomplete"

    def test_the_client_s_item_is_left_alone(self) -> None:
        item = dict(USER)
        named([item], "abc")
        assert item == USER

    def test_naming_again_changes_only_ids(self) -> None:
        once = named([USER, said("Ho"), THOUGHT], "abc")
        again = named(once, "xyz")
        assert [item | {"id": ""} for item in again] == [item | {"id": ""} for item in once]


class TestMessages:
    """As chat templates read them."""

    def test_instructions_come_first(self) -> None:
        assert to_messages("Be brief.", [USER]) == [{"role": "system", "content": "Be brief."}, USER]

    def test_without_instructions(self) -> None:
        assert to_messages(None, [USER]) == [USER]
        assert to_messages("", [USER]) == [USER]

    def test_instructions_and_developers_share_one_system_message(self) -> None:
        items = [{"role": "developer", "content": "Use tools."}, {"role": "system", "content": "Be kind."}, USER]
        assert to_messages("Be brief.", items) == [
            {"role": "system", "content": "Be brief.\n\nUse tools.\n\nBe kind."},
            USER,
        ]

    def test_a_later_developer_stays_where_it_is(self) -> None:
        later = {"role": "developer", "content": "Now be long."}
        assert to_messages(None, [USER, later]) == [USER, {"role": "system", "content": "Now be long."}]

    def test_parts_become_text(self) -> None:
        parts = [{"type": "input_text", "text": "Hi"}, {"type": "text", "text": " there"}]
        assert to_messages(None, [{"role": "user", "content": parts}]) == [{"role": "user", "content": "Hi there"}]

    def test_a_call_and_its_output(self) -> None:
        function = {"name": "look", "arguments": "{}"}
        assert to_messages(None, [USER, CALL, OUTPUT]) == [
            USER,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        ]

    def test_parallel_calls_share_one_message(self) -> None:
        messages = to_messages(None, [CALL, CALL | {"call_id": "c2"}, OUTPUT, OUTPUT | {"call_id": "c2"}])
        assert [message["role"] for message in messages] == ["assistant", "tool", "tool"]
        assert [call["id"] for call in messages[0]["tool_calls"]] == ["c1", "c2"]

    def test_a_call_joins_the_text_before_it(self) -> None:
        [message] = to_messages(None, [said("I look."), CALL])
        assert (message["content"], len(message["tool_calls"])) == ("I look.", 1)

    def test_text_joins_the_call_before_it(self) -> None:
        [message] = to_messages(None, [CALL, said("I look.")])
        assert (message["content"], len(message["tool_calls"])) == ("I look.", 1)

    def test_a_second_answer_after_an_output_is_its_own(self) -> None:
        messages = to_messages(None, [CALL, OUTPUT, said("A cat.")])
        assert [message["role"] for message in messages] == ["assistant", "tool", "assistant"]

    def test_reasoning_joins_the_answer_after_it(self) -> None:
        assert to_messages(None, [THOUGHT, said("Yes.")]) == [
            {"role": "assistant", "content": "Yes.", "reasoning": "Hm."}
        ]

    def test_reasoning_joins_the_call_after_it(self) -> None:
        [message] = to_messages(None, [THOUGHT, CALL])
        assert (message["reasoning"], message["tool_calls"][0]["id"]) == ("Hm.", "c1")

    def test_reasoning_after_an_answer_begins_another(self) -> None:
        messages = to_messages(None, [said("One."), THOUGHT, said("Two.")])
        assert [message["content"] for message in messages] == ["One.", "Two."]

    def test_a_summary_stands_in_for_reasoning(self) -> None:
        summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "In short."}]}
        assert to_messages(None, [summary, said("Yes.")])[0]["reasoning"] == "In short."

    def test_reasoning_that_nobody_can_read_is_left_out(self) -> None:
        assert to_messages(None, [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]) == []

    def test_two_answers_in_a_row_stay_two(self) -> None:
        assert to_messages(None, [said("One."), said("Two.")]) == [said("One."), said("Two.")]

    def test_stored_items_read_like_the_client_s(self) -> None:
        items = [USER, THOUGHT, said("Yes."), CALL, OUTPUT]
        assert to_messages("Be brief.", named(items, "abc")) == to_messages("Be brief.", items)


@pytest.mark.parametrize(
    ("content", "text"),
    [("Hi", "Hi"), ("", ""), (None, ""), ([], ""), ([{"refusal": "No."}, {"text": "Hi"}], "No.Hi")],
)
def test_text_of(content: Any, text: str) -> None:
    assert text_of(content) == text


@pytest.mark.parametrize(
    ("item", "kind"), [(USER, "message"), (CALL, "function_call"), ({}, ""), ({"type": 5}, "5"), ({"type": ""}, "")]
)
def test_kind_of(item: dict[str, Any], kind: str) -> None:
    assert kind_of(item) == kind
