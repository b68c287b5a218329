import pytest

from engine.base import Channel, Delta, EngineError, ToolCall
from engine.vllm.whole import WholeAnswer


def answer(*deltas: Delta) -> WholeAnswer:
    whole = WholeAnswer()
    for delta in deltas:
        whole.add([delta])
    return whole


def text(said: str) -> Delta:
    return Delta(Channel.TEXT, said)


def call(index: int, said: str) -> Delta:
    return Delta(Channel.TOOL, said, ToolCall(index, f"call_{index}", "look"))


@pytest.mark.parametrize(
    "deltas",
    [
        [text('{"a"'), text(": 1}")],
        [Delta(Channel.REASONING, "hm"), text("[]")],
        [call(0, '{"a": '), Delta(Channel.TOOL, "1}"), call(1, "{}")],
        [text("\n"), call(0, "{}")],
    ],
)
def test_json_is_whole(deltas: list[Delta]) -> None:
    answer(*deltas).check()


@pytest.mark.parametrize(
    "deltas", [[], [text('{"a')], [text("{} {}")], [call(0, "{}"), call(1, '{"a": ')], [text("{}"), call(0, "")]]
)
def test_what_breaks_off_is_not(deltas: list[Delta]) -> None:
    with pytest.raises(EngineError):
        answer(*deltas).check()
