"""Bodies: too many things, too deep, too long, or odd."""

from collections.abc import Iterator
from itertools import chain
from random import Random

from bench.hostile.corpus.family import ROOM, Family, Ground, body, everywhere, listed, made
from bench.hostile.inputs import LIMIT, Input, create, posted, said, spoken

TEXT_FIELDS = ("model", "instructions", "stop", "user", "prompt_cache_key", "safety_identifier", "truncation")


def items(ground: Ground, random: Random) -> Iterator[Input]:
    """As many items as fit into a message."""
    call = '{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}'
    output = '{"type":"function_call_output","call_id":"c","output":""}'
    units = {
        "empty messages": '{"role":"user","content":""}',
        "messages without parts": '{"role":"user","content":[]}',
        "system messages": '{"role":"system","content":"a"}',
        "assistant messages": '{"role":"assistant","content":"a"}',
        "calls": call,
        "calls with outputs": f"{call},{output}",
        "outputs without calls": output,
        "reasoning": '{"type":"reasoning","summary":[]}',
        "one kind after the other": f'{{"role":"user","content":"a"}},{call},{output}',
    }
    yield from chain(*(everywhere(name, body(input=listed(unit))) for name, unit in units.items()))
    parts = listed('{"type":"input_text","text":"a"}', ROOM - 64)
    yield from everywhere("parts of one message", body(input=f'[{{"role":"user","content":{parts}}}]'))
    cut = body(input=listed(units["empty messages"]), truncation='"auto"')
    yield from everywhere("empty messages, truncated", cut)
    late = f"[{'{},'.join([''] * 30000)}1]"
    yield from everywhere("items without a type", body(input=late))
    bad_last = listed(units["empty messages"], ROOM - 64)[:-1] + ',{"role":"nobody","content":""}]'
    yield from everywhere("the last item is wrong", body(input=bad_last))


def nesting(ground: Ground, random: Random) -> Iterator[Input]:
    """Lists in lists, and objects in objects."""
    for depth in (90, 99, 101, 1000, 1023, 1025, LIMIT // 2 - 100):
        deep = "[" * depth + "]" * depth
        yield from everywhere(f"{depth} lists in an unknown field", body(unknown=deep))
        yield said(f"{depth} lists and nothing else", deep)
    for depth in (90, 101, 10_000, 150_000):
        deep = '{"a":' * depth + "1" + "}" * depth
        fields = ("metadata", "input", "tools", "text", "tool_choice", "reasoning", "stream_options", "conversation")
        for field in fields:
            yield said(f"{depth} objects in {field}", body(**{field: deep}))
        item = f'[{{"role":"user","content":{deep}}}]'
        yield said(f"{depth} objects in content", body(input=item))
        yield posted(f"{depth} objects in items", "/v1/conversations", f'{{"items":[{deep}]}}')
        yield said(f"{depth} objects in response.steer", f'{{"type":"response.steer","input":[{deep}]}}')
    yield said("lists that never end", "[" * (LIMIT - 200))
    yield said("90 levels, each with many neighbours", _bushy(90, 3000))
    yield said("90 levels of an item, each with many neighbours", body(input=f"[{_bushy(90, 3000)}]"))


def _bushy(depth: int, each: int) -> str:
    neighbours = "[]," * each
    return ('{"a":[' + neighbours) * (depth // 2) + "1" + "]}" * (depth // 2)


def objects(ground: Ground, random: Random) -> Iterator[Input]:
    """A message made of nothing but small values."""
    for unit in ("[]", "{}", "0", '""', "null", "true", '{"a":{}}', "[[]]", "1.5", '"\\u0000"'):
        for field in ("unknown", "include", "tools", "stop", "metadata"):
            yield said(f"{unit} in {field}", body(**{field: listed(unit)}))
        yield from everywhere(f"{unit} in an item", body(input=f'[{{"role":"user","content":"a","x":{listed(unit)}}}]'))
        yield said(f"{unit} alone", listed(unit))
        yield posted(f"{unit} in a conversation", "/v1/conversations", f'{{"metadata":{listed(unit)}}}')
    pairs = ",".join(f'"{number}":0' for number in range(80_000))
    yield from everywhere("80,000 unknown fields", body()[:-1] + f",{pairs}}}")
    yield from everywhere("80,000 fields of an item", body(input=f'[{{"role":"user","content":"a",{pairs}}}]'))
    yield said("the same field again and again", body()[:-1] + ',"input":"a"' * 80_000 + "}")


def strings(ground: Ground, random: Random) -> Iterator[Input]:
    """One text as long as a message may be, in every place that takes one."""
    long = "a " * (ROOM // 2)
    yield from made("input", input=long)
    yield from made("input, truncated", input=long, truncation="auto")
    for field in TEXT_FIELDS:
        yield from everywhere(field, create(**{field: long}))
    yield from made("escapes", input="\\" * (ROOM // 2 - 100))
    yield from made("content", input=[{"role": "user", "content": long}])
    yield from made("role", input=[{"role": long, "content": "a"}])
    yield from made("type of an item", input=[{"type": long, "content": "a"}])
    yield from made("type of a part", input=[{"role": "user", "content": [{"type": long, "text": "a"}]}])
    yield from made("arguments", input=[{"type": "function_call", "call_id": "c", "name": "f", "arguments": long}])
    yield from made("name of a tool", tools=[{"type": "function", "name": long}])
    yield from made("description of a tool", tools=[{"type": "function", "name": "f", "description": long}])
    yield from made("type of a tool", tools=[{"type": long}])
    yield from made("include", include=[long])
    yield from made("reasoning.mode", reasoning={"mode": long})
    yield from made("text.format.name", text={"format": {"type": "json_schema", "name": long, "schema": {}}})
    yield said("type", {"type": long})
    yield said("a name of a field", {"type": "response.create", long: 1})
    yield said("response.steer", {"type": "response.steer", "previous_response_id": "r", "input": long})
    yield said("no JSON at all", long)
    yield posted("a page's key", "/v1/conversations", {"metadata": {long: "a"}})


def metadata(ground: Ground, random: Random) -> Iterator[Input]:
    """Pairs: many, long, odd."""
    yield from made("16 of the largest", metadata={f"{n:064}": "a" * 512 for n in range(16)}, runs=True)
    yield from made("17 pairs", metadata={str(n): "" for n in range(17)})
    yield from made("60,000 pairs", metadata={str(n): "" for n in range(60_000)})
    yield from made("a long key", metadata={"k" * ROOM: "v"})
    yield from made("a long value", metadata={"k": "v" * ROOM})
    yield from made("a value that is a list", metadata={"k": list(range(100_000))})
    yield from made("a value that is a number", metadata={"k": 1})
    yield from made("odd characters", metadata={"\x00\r\n\u2028\ud7ff": "\x1b[31m"}, runs=True)
    values: tuple[dict[str, str | None] | str, ...] = (
        {str(n): "" for n in range(60_000)},
        {"k": "v" * ROOM},
        "x",
        {"k": None},
    )
    for value in values:
        name = f"{str(value)[:20]} of {len(value)}"
        yield posted(f"{name} for a new conversation", "/v1/conversations", {"metadata": value})
        yield posted(f"{name} for a conversation", f"/v1/conversations/{ground.conversation}", {"metadata": value})


def numbers(ground: Ground, random: Random) -> Iterator[Input]:
    """Numbers out of range, of the wrong kind, or very long."""
    fields = "temperature top_p min_p top_k seed max_output_tokens top_logprobs presence_penalty frequency_penalty"
    values = ("1e999", "-1", "-0.0", "1e-400", "18446744073709551616", "9223372036854775808", "true", '"1"', "[]")
    for field in [*fields.split(), "repetition_penalty", "max_tool_calls"]:
        value = random.choice(values)
        yield said(f"{field}: {value}", body(**{field: value}), runs=True)
        yield posted(f"{field}: NaN", "/v1/responses", body(**{field: "NaN"}))
    digits = "9" * ROOM
    yield from everywhere("a million digits", body(seed=digits))
    yield from everywhere("a fraction of a million digits", body(temperature=f"0.{digits}"))
    yield from everywhere("a million digits in an unknown field", body(unknown=digits))
    yield from everywhere("150,000 floats", body(unknown=listed("1.5e-7")))
    yield from everywhere("an exponent of a million digits", body(temperature=f"1e{digits}"))


def stop(ground: Ground, random: Random) -> Iterator[Input]:
    """Stop strings: many, long, empty."""
    words = ["".join(random.choices("abcdefgh", k=40)) for _ in range(20_000)]
    yield from made("20,000", stop=words, max_output_tokens=64, runs=True)
    yield from made("500", stop=words[:500], max_output_tokens=64, runs=True)
    yield from made("a million characters", stop="a" * ROOM, max_output_tokens=64, runs=True)
    yield from made("300,000 empty ones", stop=[""] * 300_000)
    yield from made("one empty", stop=[""])
    yield from made("16 of 60,000", stop=[letter * 60_000 for letter in "abcdefghijklmnop"], max_output_tokens=64)
    yield from made("250,000 of one letter", stop=["q"] * 250_000, max_output_tokens=64, runs=True)
    yield from made("objects", stop=[{}] * 100_000)


def logprobs(ground: Ground, random: Random) -> Iterator[Input]:
    """Probabilities: as many as there may be, and more."""
    asked = ["message.output_text.logprobs"]
    for top in (20, 21, 1000, 2**31, 2**63 - 1, -1):
        fields = {"top_logprobs": top, "include": asked, "max_output_tokens": 256, "temperature": 2.0}
        yield from made(f"{top} of each token", **fields, runs=top == 20)
    yield spoken("16 streams of 20", [_probable(at) for at in range(16)], runs=True)
    yield from made("asked for 40,000 times", include=asked * 25_000, runs=True)


def _probable(at: int) -> dict[str, object]:
    asked = ["message.output_text.logprobs"]
    return create(top_logprobs=20, include=asked, stream_id=f"l{at}", max_output_tokens=128, ignore_eos=True)


def unicode(ground: Ground, random: Random) -> Iterator[Input]:
    """Characters that are unusual, alone or in great number."""
    odd = {
        "lone surrogates, escaped": '"\\ud800\\udfff\\ud800"',
        "a million escapes": '"' + "\\u0041" * (ROOM // 6) + '"',
        "NUL, escaped": '"' + "\\u0000" * (ROOM // 6) + '"',
    }
    for name, value in odd.items():
        yield from everywhere(name, body(input=value))
    texts = {
        "marks on one letter": "a" + "\u0301" * (ROOM // 12),
        "families of emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * (ROOM // 48),
        "right to left": "\u202e\u202d" * (ROOM // 24),
        "not characters": "\uffff\ufffe\ufdd0" * (ROOM // 36),
        "one letter": "a" * ROOM,
        "spaces": " " * ROOM,
        "line ends": "\n" * (ROOM // 2),
        "digits": "0123456789" * (ROOM // 10),
        "random letters": "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=ROOM)),
        "special tokens": "<|im_start|><|im_end|><|endoftext|><s></s>" * (ROOM // 42),
        "byte order marks": "\ufeff" * (ROOM // 6),
        "the widest characters": "\ufdfa\u0dde\U0001f9ff" * (ROOM // 48),
    }
    for name, text in texts.items():
        yield from made(name, input=text)
        yield said(f"{name}, kept and truncated", create(input=text, truncation="auto"))
    yield from made("a little of everything", input="\ufeff\u0301\u202e\U0001f468\u200d\ufffe\x00\x1b", runs=True)


BODIES = (
    Family("items", "as many items and parts as fit", items),
    Family("nesting", "lists and objects within each other", nesting),
    Family("objects", "a message of many small values", objects),
    Family("strings", "one long text in every field", strings),
    Family("metadata", "pairs: many, long, odd", metadata),
    Family("numbers", "out of range, endless", numbers),
    Family("stop", "stop strings: many, long, empty", stop),
    Family("logprobs", "probabilities of every token", logprobs),
    Family("unicode", "odd characters, alone and in great number", unicode),
)
