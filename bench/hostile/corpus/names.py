"""Ids, headers, addresses: every place in which a client names something; every endpoint, every event."""

from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import quote

from bench.hostile.corpus.family import ROOM, Family, Ground, made
from bench.hostile.inputs import Input, Piece, asked, create, frame, framed, handshake, http, posted, said, spoken

HEAD = 60_000  # characters of a header or an address that nodes still read
ODD = ("", ".", "..", "../../x", "*", "\x00", "\r\nX: y", "{a}", "%s%n", "🙂", "resp_" + "0" * 300, "conv_\u202e")
PATHS = {
    "GET": (
        "/v1/responses/{}",
        "/v1/responses/{}/input_items",
        "/v1/responses/{}?stream=true",
        "/v1/conversations/{}",
        "/v1/conversations/{}/items",
        "/v1/conversations/x/items/{}",
        "/v1/conversations?after={}",
        "/v1/models/{}",
    ),
    "POST": ("/v1/responses/{}/cancel", "/v1/conversations/{}", "/v1/conversations/{}/items"),
    "DELETE": ("/v1/responses/{}", "/v1/conversations/{}", "/v1/conversations/x/items/{}"),
}
ENDPOINTS = (
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/v1/responses/resp_0",
    "/v1/responses/resp_0/cancel",
    "/v1/responses/resp_0/input_items",
    "/v1/conversations",
    "/v1/conversations/conv_0",
    "/v1/conversations/conv_0/items",
    "/v1/conversations/conv_0/items/msg_0",
    "/v1/models",
    "/v1/models/none",
    "/v1/tickets",
    "/healthz",
    "/readyz",
    "/metrics",
    "/",
    "/widget.js",
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW")
VALUES = ("", "null", "0", '"a"', "[]", "{}", "true", '{"":""}', "{", "\x00", "[[]]", '{"input":null}')
KINDS: tuple[Any, ...] = (None, 0, -1, 2**63, 1.5, "", "a", [], {}, True)
EVENTS = ("response.create", "throughline:resume", "throughline:cancel", "response.steer")

LINES: dict[str, list[tuple[str, str]]] = {
    "200 of them": [(f"x-{number}", "a") for number in range(200)],
    "5,000 of them": [(f"x-{number}", "a") for number in range(5000)],
    "one of 60,000": [("x-long", "a" * HEAD)],
    "one of a million": [("x-long", "a" * (1 << 20))],
    "a name of 60,000": [("x" * HEAD, "a")],
    "200 cookies": [("cookie", "a=b; " * 200)] * 40,
    "a long traceparent": [("traceparent", "00-" + "a" * HEAD)],
    "a long origin": [("origin", "http://" + "a" * HEAD)],
    "an odd origin": [("origin", "http://[::1")],
    "a long authorization": [("authorization", "Bearer " + "k" * HEAD)],
    "bytes above 127": [("x-odd", "\xff\xfe\x80")],
    "a control character": [("x-odd", "a\x01b")],
    "a forwarded address": [("x-forwarded-for", "1.2.3.4, " * 3000), ("x-forwarded-proto", "wss")],
    "a host of another": [("host", "evil.example")],
    "two hosts": [("host", "localhost"), ("host", "evil.example")],
    "a long host": [("host", "a" * HEAD)],
    "a folded line": [("x-fold", "a\r\n b")],
    "no colon": [("x-none\r\nnothing", "a")],
    "expect": [("expect", "100-continue")],
    "1,000 protocols": [("sec-websocket-protocol", "a, " * 1000)],
}


def ids(ground: Ground, random: Random) -> Iterator[Input]:
    """In every place an id goes: as long as a message may be, and odd."""
    for id in ("x" * ROOM, "\u0301" * (ROOM // 6), *ODD):
        name = f"{id[:12]!r} of {len(id)}"
        for field in ("previous_response_id", "conversation", "stream_id", "idempotency_key"):
            yield said(f"{field}: {name}", create(**{field: id}))
        yield said(f"conversation.id: {name}", create(conversation={"id": id}))
        yield said(f"resume: {name}", {"type": "throughline:resume", "response_id": id})
        yield said(f"resume on lane: {name}", {"type": "throughline:resume", "response_id": "r", "stream_id": id})
        yield said(f"cancel: {name}", {"type": "throughline:cancel", "response_id": id})
        yield said(f"steer: {name}", {"type": "response.steer", "previous_response_id": id, "input": "a"})
        yield posted(f"previous_response_id (POST): {name}", "/v1/responses", create(previous_response_id=id))
        items = [{"role": "user", "content": "a", "id": id}]
        yield said(f"id of an item: {name}", create(input=items), runs=True)
        call = {"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"}
        yield from made(f"call_id: {name}", input=[call], runs=True)
    for id in ("x" * HEAD, "%00" * 1000, "%ff" * 1000, *(quote(odd, safe="") for odd in ODD[1:])):
        for method, paths in PATHS.items():
            path = random.choice(paths)
            yield asked(f"{method} {path}: {id[:12]} of {len(id)}", path.format(id), method)
        target = f"/v1/responses?resume={id}"
        yield framed(f"resume in the address: {id[:12]} of {len(id)}", b"", target=target)
    yield posted("a long key in a header", "/v1/responses", create(), idempotency_key="k" * HEAD)


def headers(ground: Ground, random: Random) -> Iterator[Input]:
    """Of a handshake and of a request: many, long, odd, contradictory."""
    for name, pairs in LINES.items():
        yield Input(f"{name} (handshake)", (Piece(handshake(headers=pairs)),), answers=1)
        yield asked(f"{name} (GET)", "/v1/models", headers=pairs)
        yield Input(f"{name} (POST)", (Piece(http("POST", "/v1/responses", b"{}", pairs)),))
    for name, value in (
        ("two lengths", "2\r\ncontent-length: 5"),
        ("a negative length", "-1"),
        ("a huge length", "9" * 30),
    ):
        raw = http("POST", "/v1/responses", b"{}", [("content-length", value)])
        yield Input(name, (Piece(raw),), answers=0)
    both = [("content-length", "5"), ("transfer-encoding", "chunked")]
    yield Input("a length and chunks", (Piece(http("POST", "/v1/responses", b"2\r\n{}\r\n0\r\n\r\n", both)),))
    for name, value in (
        ("no key", ""),
        ("a short key", "YQ=="),
        ("a key of 60,000", "a" * HEAD),
        ("no base64", "?" * 24),
    ):
        yield Input(name, (Piece(handshake(headers=[("sec-websocket-key", value)])),))
    for version in ("0", "8", "14", "thirteen"):
        yield Input(f"version {version}", (Piece(handshake(headers=[("sec-websocket-version", version)])),))


def urls(ground: Ground, random: Random) -> Iterator[Input]:
    """Addresses: long, odd, with many parameters."""
    paths = {
        "a long path": "/v1/" + "a" * HEAD,
        "many slashes": "/" * HEAD,
        "many dots": "/.." * (HEAD // 3),
        "a long query": "/v1/models?" + "a" * HEAD,
        "20,000 parameters": "/v1/models?" + "&".join(["a"] * 20_000),
        "20,000 signs": "/v1/models?" + "&" * 20_000,
        "20,000 percent signs": "/v1/models?a=" + "%" * 20_000,
        "NUL": "/v1/models/%00%0d%0a",
        "no UTF-8": "/v1/responses/%ff%fe?starting_after=%ff",
        "a page's position": "/v1/conversations?limit=100&after=" + "9" * 5000,
        "a limit of many digits": "/v1/conversations?limit=" + "9" * 5000,
        "another host": "http://evil.example/v1/models",
        "a star": "*",
        "a fragment": "/v1/models#" + "a" * 1000,
        "a position of many digits": f"/v1/responses/{ground.response}?stream=true&starting_after=" + "9" * 5000,
        "a million bytes": "/v1/" + "a" * (1 << 20),
    }
    for name, path in paths.items():
        yield asked(name, path, wait=5.0)
        yield Input(f"{name} (handshake)", (Piece(handshake(path)),), wait=5.0)
    for count in (100, 3000):
        group = f"resume={ground.response}&starting_after=3&stream_id=a"
        yield framed(f"{count} resumes", b"", target=f"/v1/responses?{'&'.join([group] * count)[:HEAD]}")
        yield framed(f"{count} empty resumes", b"", target=f"/v1/responses?{'resume=&' * count}", answers=0)
    yield framed("a long lane", b"", target=f"/v1/responses?resume={ground.response}&stream_id=" + "l" * HEAD)
    yield framed("an odd position", b"", target=f"/v1/responses?resume={ground.response}&starting_after=-1e9")
    yield framed("20,000 parameters (socket)", frame(b"{}"), target="/v1/responses?" + "a=b&" * 15_000)


def endpoints(ground: Ground, random: Random) -> Iterator[Input]:
    """Every endpoint with every method and with bodies that are not what it takes."""
    for path in ENDPOINTS:
        for method in random.sample(METHODS, 4):
            yield asked(f"{method} {path}", path, method, answers=0 if method in {"HEAD", "BREW"} else 1)
        for value in random.sample(VALUES, 4):
            yield posted(f"POST {path} {value}", path, value)
        yield posted(f"POST {path} with a million bytes", path, "[" * ROOM)
        yield posted(f"POST {path} with too many bytes", path, " " * ((1 << 20) + 1))


def events(ground: Ground, random: Random) -> Iterator[Input]:
    """Every event with what it must have missing, null, or of another kind."""
    for event in EVENTS:
        yield said(f"{event} alone", {"type": event})
        for field in ("response_id", "starting_after", "stream_id", "previous_response_id", "input"):
            for value in KINDS:
                yield said(f"{event} {field}: {value!r}", {"type": event, "response_id": "r", field: value})
    for value in (*KINDS, "error", "response.completed", "throughline:resumed", "\x00"):
        yield said(f"type: {value!r}", {"type": value})
    for text in VALUES:
        yield said(repr(text), text)
    yield spoken("2,000 unknown ones", [{"type": "a"}] * 2000)
    yield spoken("all of them at once", _mixed(random, 500))


def _mixed(random: Random, count: int) -> list[dict[str, Any]]:
    return [{"type": random.choice(EVENTS[1:]), "response_id": random.choice(ODD)} for _ in range(count)]


NAMES = (
    Family("ids", "long and odd ids in every place", ids),
    Family("headers", "many, long, odd, contradictory", headers),
    Family("urls", "long addresses, many parameters", urls),
    Family("endpoints", "every endpoint with what it does not take", endpoints),
    Family("events", "every event with what it does not take", events),
)
