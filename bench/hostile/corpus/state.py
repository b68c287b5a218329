"""What is kept between requests: lanes, floods of questions, conversations, histories."""

from collections.abc import Iterator
from random import Random

from bench.hostile.corpus.family import ROOM, Family, Ground, body, everywhere, listed
from bench.hostile.inputs import LIMIT, Input, Piece, asked, create, encoded, frame, http, posted, said, spoken

MOST_ITEMS = 20  # in one call


def floods(ground: Ground, random: Random) -> Iterator[Input]:
    """Resumes, cancels and steers as fast as they can be written."""
    known, unknown = ground.response, "resp_0"
    for name, id in (("a finished turn", known), ("nothing", unknown)):
        yield spoken(f"5,000 cancels of {name}", [{"type": "throughline:cancel", "response_id": id}] * 5000)
        yield spoken(f"3,000 resumes of {name}", [{"type": "throughline:resume", "response_id": id}] * 3000)
    at = [{"type": "throughline:resume", "response_id": known, "starting_after": n % 90} for n in range(64)]
    yield spoken("64 resumes from everywhere", at)
    far = [{"type": "throughline:resume", "response_id": known, "starting_after": 10**14 + n} for n in range(500)]
    yield spoken("500 resumes from beyond the end", far)
    steer = {"type": "response.steer", "previous_response_id": known, "input": "a"}
    yield spoken("3,000 steers", [steer] * 3000)
    yield spoken("3,000 of the same key", [create(idempotency_key="k")] * 300, runs=True)
    stops = [create(stream_id="a"), *[{"type": "throughline:cancel", "response_id": unknown}] * 1000]
    yield spoken("a turn and 1,000 cancels", stops, runs=True)
    cancel = http("POST", f"/v1/responses/{known}/cancel")
    yield Input("500 cancels over HTTP", (Piece(cancel * 500),), answers=500)
    events = http("GET", f"/v1/responses/{known}?stream=true")
    yield Input("100 replays over HTTP", (Piece(events * 100),), answers=100, wait=30.0)
    yield Input("1,000 tickets", (Piece(http("POST", "/v1/tickets") * 1000),), answers=1000)


def lanes(ground: Ground, random: Random) -> Iterator[Input]:
    """More lanes and more waiting messages than a connection has room for."""
    yield spoken("500 lanes", [create(stream_id=f"l{n}", max_output_tokens=1) for n in range(500)], runs=True)
    yield spoken("1,000 turns in one lane", [create(max_output_tokens=1)] * 1000, runs=True)
    big = create(input="Hi", max_output_tokens=1, padding="x" * (LIMIT // 4))
    yield spoken("64 messages of 256 KiB wait", [create(max_output_tokens=64), *[big] * 64], runs=True)
    whole = create(input="a " * (ROOM // 2))
    yield spoken("64 messages of 1 MiB wait", [create(max_output_tokens=64), *[whole] * 64], runs=True, wait=60.0)
    tiny = body(unknown=listed("[]", LIMIT // 4), max_output_tokens="1")
    yield spoken("64 messages of small objects wait", [create(max_output_tokens=64), *[tiny] * 64], runs=True)
    names = [create(stream_id="".join(random.choices("abc", k=256)), max_output_tokens=1) for _ in range(100)]
    yield spoken("long names", names, runs=True)
    warm = [create(generate=False, stream_id=f"l{n % 32}") for n in range(200)]
    yield spoken("200 that only warm up", warm, runs=True)
    yield said("a lane of 257", create(stream_id="l" * 257))


def conversations(ground: Ground, random: Random) -> Iterator[Input]:
    """Conversations with many items, and what is done with them."""
    at = f"/v1/conversations/{ground.conversation}"
    for query in ("", "?limit=100", "?limit=100&order=asc", "?after=msg_none", "?order=asc&after=" + "m" * 1000):
        yield asked(f"items{query[:30]}", f"{at}/items{query}")
    text = "a " * (ROOM // 2 // MOST_ITEMS - 100)
    full = [{"role": "user", "content": text}] * MOST_ITEMS
    yield posted("20 large items", "/v1/conversations", {"items": full})
    yield posted("20 large items more", f"{at}/items", {"items": full})
    yield posted("21 items", f"{at}/items", {"items": full[:1] * 21})
    parts = '[{"role":"user","content":' + listed('{"type":"input_text","text":""}', ROOM - 200) + "}]"
    yield posted("an item of many parts", "/v1/conversations", f'{{"items":{parts}}}')
    yield posted("30,000 items", "/v1/conversations", f'{{"items":{listed("{}")}}}')
    here = {"conversation": ground.conversation}
    yield from everywhere("a turn after all of it", create(**here))
    yield from everywhere("a turn after all of it, truncated", create(**here, truncation="auto"), runs=True)
    yield said("a turn after all of it, kept", create(**here, store=True, truncation="auto"), runs=True)
    yield spoken("16 turns in one conversation", [create(**here, stream_id=f"l{n}") for n in range(16)], runs=True)
    new = http("POST", "/v1/conversations", b"{}")
    yield Input("500 new ones", (Piece(new * 500),), answers=500)
    yield asked("the list of them", "/v1/conversations?limit=100")
    meta = http("POST", at, encoded({"metadata": {"k": "v" * 500}}))
    yield Input("500 changes", (Piece(meta * 500),), answers=500)


def histories(ground: Ground, random: Random) -> Iterator[Input]:
    """Histories that are far longer than the model reads, also where the oldest is to be dropped."""
    after = {"previous_response_id": ground.history}
    yield from everywhere("after a long one", create(**after))
    yield from everywhere("after a long one, truncated", create(**after, truncation="auto"), runs=True)
    yield asked("its items", f"/v1/responses/{ground.history}/input_items?limit=100")
    yield asked("itself", f"/v1/responses/{ground.history}")
    fork = [create(**after, truncation="auto", stream_id=f"l{n}", max_output_tokens=1) for n in range(16)]
    yield spoken("16 answers to the same", fork, runs=True)
    units = {
        "of short messages": '{"role":"user","content":"a"}',
        "of empty messages": '{"role":"user","content":""}',
        "of calls": '{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}',
        "of system messages": '{"role":"system","content":"a"}',
        "of long messages": '{"role":"user","content":"' + "a " * 5000 + '"}',
    }
    for name, unit in units.items():
        yield from everywhere(f"a new one {name}, truncated", body(input=listed(unit), truncation='"auto"'), runs=True)
    last = listed('{"role":"user","content":"a"}', ROOM // 2)[:-1] + ',{"role":"user","content":"' + "b " * 200_000
    yield from everywhere("a last item that is too long, truncated", body(input=last + '"}]', truncation='"auto"'))
    kept = frame(encoded(body(input=listed(units["of short messages"]), store="true", truncation='"auto"')))
    yield Input("kept, and asked again", (Piece(kept),), upgraded=True, runs=True)


STATE = (
    Family("floods", "resumes, cancels, steers, tickets", floods),
    Family("lanes", "too many lanes, large messages that wait", lanes),
    Family("conversations", "with many items", conversations),
    Family("histories", "longer than the model reads, truncation auto", histories),
)
