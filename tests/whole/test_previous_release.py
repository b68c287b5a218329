"""The previous release beside this one on one Redis, as during a deploy: each goes on with what the other wrote."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple, TypeVar

import httpx2
import pytest
from redis import Redis

from tests.waiting import wait_until
from tests.whole.beats import Beats
from tests.whole.client import Client, connected, numbers
from tests.whole.process import Program
from tests.whole.releases import SLOTS, Releases, both

T = TypeVar("T")
pytestmark = pytest.mark.redis

RATE = 60  # tokens per second
SECONDS = 90  # in which all turns of one run have ended, even where a node did
BEFORE = 25  # events that everybody has seen when a node is ended
ASK = "Go on. [tokens=100]"
HELD = {"input": "[first=100]", "background": True}  # holds a slot and says nothing
TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}
CASES: dict[str, dict[str, Any]] = {
    "plain": {"input": ASK, "instructions": "Sei höflich 😀"},
    "chain": {"input": ASK},  # behind a response that the other release wrote
    "conversation": {"input": ASK},  # one that the other release began
    "unkept": {"input": ASK, "store": False},
    "reasoning": {"input": f"[reasoning=50] {ASK}", "reasoning": {"effort": "low"}},
    "calls": {"input": "[call=look_up,look_up,look_up,look_up]", "tools": [TOOL]},
    "logprobs": {
        "input": ASK,
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
        "temperature": 0.5,
        "seed": 7,
        "stop": ["\0"],
    },
    "lane": {"input": ASK, "stream_id": "side"},
}
DIRECTIONS = [("old", "new"), ("new", "old")]  # who writes first, and who goes on or looks on
directions = pytest.mark.parametrize(("writer", "other"), DIRECTIONS)
cases = pytest.mark.parametrize("case", CASES)


class Seen(NamedTuple):
    """One turn: what its client saw, on whichever node, and what a viewer on the other release's node saw."""

    own: list[dict[str, Any]]
    viewed: list[dict[str, Any]]
    longest: float  # seconds, by heartbeats, that the viewer waited for an event once it had the first ones


class Cut(NamedTuple):
    """What came of ending a node in the middle of its turns."""

    seen: dict[str, Seen]
    number: signal.Signals
    status: int  # of the process that ended
    outputs: dict[str, str]  # what both printed, by release
    owner: str  # name of the node that ended, in the registry
    finishers: set[str]  # the nodes under whose leases its turns ended
    view: dict[str, Any]  # of the registry, by the other release afterwards


@pytest.fixture(scope="module")
def deployment() -> Iterator[Releases]:
    with both("--scripted-rate", str(RATE), "--drain-seconds", "10") as releases:
        yield releases


@pytest.fixture
def releases(deployment: Releases) -> Releases:
    return deployment.ready()


@pytest.fixture(scope="module")
def uncut(deployment: Releases) -> dict[tuple[str, str], dict[str, Seen]]:
    """Every case in both directions, with nobody ended."""

    async def run() -> list[dict[str, Seen]]:
        deployment.ready()
        both_ways = await asyncio.gather(*(_all_cases(deployment, *direction, _nothing) for direction in DIRECTIONS))
        return [seen for seen, _ in both_ways]

    return dict(zip(DIRECTIONS, asyncio.run(run()), strict=True))


@pytest.fixture(
    scope="module",
    params=[(end, *direction) for end in ("kill", "drain") for direction in DIRECTIONS],
    ids=lambda param: "-".join(param),
)
def cut(request: pytest.FixtureRequest, deployment: Releases) -> Cut:
    """All cases at once on one node, which is ended in their middle: again, where a machine was too slow for that."""
    end, writer, other = request.param
    for _ in range(3):
        cut = asyncio.run(_cut(deployment.ready(), end, writer, other))
        if cut.owner not in cut.finishers:
            break
    return cut


async def _cut(releases: Releases, end: str, writer: str, other: str) -> Cut:
    node = releases.nodes[writer]
    printed = {release: len(node.output()) for release, node in releases.nodes.items()}
    number = signal.SIGKILL if end == "kill" else signal.SIGTERM

    async def cut() -> tuple[set[str], int, dict[str, Any]]:
        owners = _owners(releases, "lease")
        status = await asyncio.to_thread(node.end, number)
        return owners, status, await asyncio.to_thread(releases.view, other)

    seen, (owners, status, view) = await _all_cases(releases, writer, other, cut)
    outputs = {release: node.output()[printed[release] :] for release, node in releases.nodes.items()}
    node.start()  # for who comes next
    [owner] = owners
    finishers = _owners(releases, "end", [turn.own[0]["response"]["id"] for turn in seen.values()])
    return Cut(seen, number, status, outputs, owner, finishers, view)


def _owners(releases: Releases, field: str, ids: Sequence[str] = ("",)) -> set[str]:
    """The nodes in the leases of these turns, or of all: under which they run (`lease`), or ended (`end`)."""
    with Redis.from_url(releases.redis.url) as redis:
        leases = [redis.hget(key, field) or b"" for id in ids for key in redis.scan_iter(f"tl:*:turn:*{id}")]
    return {lease.decode().partition(":")[2] for lease in leases} - {""}


async def _nothing() -> None:
    pass


async def _all_cases(
    releases: Releases, writer: str, other: str, cut: Callable[[], Awaitable[T]]
) -> tuple[dict[str, Seen], T]:
    """All cases at once. Once everybody has seen the first events of everything, `cut` runs beside them."""
    barrier = asyncio.Barrier(len(CASES) + 1)
    nodes = releases.nodes[writer], releases.nodes[other]

    async def when_begun() -> T:
        await barrier.wait()
        return await cut()

    async with asyncio.timeout(SECONDS):  # a turn that nobody goes on with would keep its viewers waiting
        beats = Beats(releases.redis.url)
        turns = asyncio.gather(*(_turn(case, *nodes, barrier, beats) for case in CASES))
        seen, result = await asyncio.gather(turns, when_begun())
        beats.close()
    return dict(zip(CASES, seen, strict=True)), result


async def _turn(case: str, writer: Program, other: Program, barrier: asyncio.Barrier, beats: Beats) -> Seen:
    fields = await asyncio.to_thread(_request, case, other)
    async with connected(writer.ws) as client:
        await client.create(**fields)
        own = [await client.event()]
        query = f"?resume={own[0]['response']['id']}" + ("&stream_id=side" if "stream_id" in fields else "")
        async with connected(other.ws + query) as viewer:
            viewed = [await viewer.event() for _ in range(BEFORE)]
            own += [await client.event() for _ in range(BEFORE)]
            await barrier.wait()
            rest, (more, longest) = await asyncio.gather(_resumed(client, other.ws + query, own), _timed(viewer, beats))
    return Seen([*own, *rest], [*viewed, *more], longest)


def _request(case: str, other: Program) -> dict[str, Any]:
    """The request of a case. What it continues is written by the other release first."""
    fields = dict(CASES[case])
    with httpx2.Client(base_url=f"{other.http}/v1/", timeout=90) as http:
        if case == "chain":
            fields["previous_response_id"] = _post(http, "responses", input="Begin. [tokens=5]")["id"]
        if case == "conversation":
            id = _post(http, "conversations", metadata={"topic": "ä"})["id"]
            _post(http, "responses", input="Begin. [tokens=5]", conversation=id)
            fields["conversation"] = id
    return fields


async def _resumed(client: Client, elsewhere: str, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rest of a turn as its client sees it: once its socket is gone, from its position on the other node."""
    events: list[dict[str, Any]] = []
    try:
        while not events or not _is_end(events[-1]):
            events.append(await client.event())
    except Exception:  # whatever a cut connection raises
        last = [*before, *events][-1]["sequence_number"]
        async with connected(f"{elsewhere}&starting_after={last}") as again:
            events += await again.events()
    return events


async def _timed(viewer: Client, beats: Beats) -> tuple[list[dict[str, Any]], float]:
    """The rest of a turn, and the longest wait for one of its events."""
    events: list[dict[str, Any]] = []
    longest, last = 0.0, beats.seconds()
    while not events or not _is_end(events[-1]):
        events.append(await viewer.event())
        now = beats.seconds()
        longest, last = max(longest, now - last), now
    return events, longest


def _is_end(event: dict[str, Any]) -> bool:
    return event["type"] in {"response.completed", "response.incomplete", "response.failed", "error"}


def content(events: list[dict[str, Any]]) -> dict[Any, Any]:
    """What an answer says, without what differs from turn to turn: ids, times, and how its tokens were gathered."""
    response = events[-1]["response"]
    said: dict[Any, Any] = {"status": response["status"], "output": [_anonymous(item) for item in response["output"]]}
    for event in events:
        if event["type"].endswith(".delta"):
            place = event["type"], event["output_index"]
            said[place] = said.get(place, "") + event["delta"]
            said[*place, "logprobs"] = said.get((*place, "logprobs"), []) + event.get("logprobs", [])
    return said | {name: response["usage"][name] for name in ("input_tokens", "output_tokens", "output_tokens_details")}


def _anonymous(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "id"}


def check(events: list[dict[str, Any]], expected: dict[Any, Any]) -> None:
    """An answer that is whole: the expected text, once, and numbers without a gap."""
    assert numbers(events) == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
    assert [event["type"] for event in events].count("response.in_progress") == 1
    assert content(events) == expected


def _post(http: httpx2.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _get(http: httpx2.Client, path: str) -> dict[str, Any]:
    answer = http.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# -- turns that nobody interrupts --------------------------------------------------------------------------------


def test_the_node_of_the_previous_release_runs_its_code(releases: Releases) -> None:
    code = "import server; print(server.__file__)"
    for node in releases.nodes.values():
        found = subprocess.run([sys.executable, "-c", code], cwd=node.root, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == str(node.root / "server" / "__init__.py")
    assert releases.nodes["old"].root != releases.nodes["new"].root


@cases
@directions
def test_a_viewer_on_the_other_sees_the_same_events(
    uncut: dict[tuple[str, str], dict[str, Seen]], writer: str, other: str, case: str
) -> None:
    seen = uncut[writer, other][case]
    assert seen.viewed == seen.own
    check(seen.own, content(uncut[other, writer][case].own))


# -- nodes that end in the middle of a turn ----------------------------------------------------------------------


@cases
def test_a_turn_goes_on_in_the_other(cut: Cut, uncut: dict[tuple[str, str], dict[str, Seen]], case: str) -> None:
    check(cut.seen[case].viewed, content(uncut["old", "new"][case].own))


@cases
def test_a_client_that_resumes_on_the_other_sees_the_same_events(cut: Cut, case: str) -> None:
    assert cut.seen[case].own == cut.seen[case].viewed


def test_a_viewer_waits_no_longer_than_for_a_takeover(cut: Cut) -> None:
    longest = max(seen.longest for seen in cut.seen.values())
    print(f"longest wait {longest:.2f} s")
    assert longest < (4 if cut.number is signal.SIGKILL else 2)


def test_a_node_ends_as_it_was_told_to_and_nobody_stumbles(cut: Cut) -> None:
    assert cut.status == (-signal.SIGKILL if cut.number is signal.SIGKILL else 0)
    assert all("Traceback" not in output for output in cut.outputs.values())


def test_the_other_ended_every_turn(cut: Cut) -> None:
    """Nothing had come to its end before the node did: all of it was taken over."""
    assert len(cut.finishers) == 1
    assert cut.owner not in cut.finishers


def test_a_node_that_ended_is_dead_to_the_other(cut: Cut) -> None:
    assert cut.owner in cut.view["dead"]
    assert cut.owner not in cut.view["free_slots"]


# -- heartbeats, queues and stops --------------------------------------------------------------------------------


@pytest.mark.parametrize("observer", ["old", "new"])
def test_both_are_ready_with_their_free_slots(releases: Releases, observer: str) -> None:
    with releases.client("old") as old, releases.client("new") as new:
        held = [(http, _post(http, "responses", **HELD)["id"]) for http in (old, new, new)]
        free = {SLOTS["old"] - 1, SLOTS["new"] - 2}
        wait_until(lambda: set(releases.view(observer)["free_slots"].values()) == free, "both were heard of")
        for http, id in held:
            _post(http, f"responses/{id}/cancel")


@directions
def test_queued_turns_are_taken_up_by_the_other(releases: Releases, writer: str, other: str) -> None:
    """While every slot of their own node is held; afterwards the other one stops all that hold them."""
    ask = {"input": "Say it. [tokens=10]"}
    with releases.client(writer) as here, releases.client(other) as there:
        held = [_post(here, "responses", **HELD)["id"] for _ in range(SLOTS[writer])]
        queued = [_post(here, "responses", **ask, background=True) for _ in range(3)]
        assert {response["status"] for response in queued} == {"queued"}
        paths = [f"responses/{response['id']}" for response in queued]
        wait_until(lambda: all(_get(here, path)["status"] == "completed" for path in paths), "all have ended")
        assert {_get(here, f"responses/{id}")["status"] for id in held} == {"in_progress"}
        text = _text(_post(there, "responses", **ask))
        assert [_text(_get(here, path)) for path in paths] == [text] * 3
        assert {_post(there, f"responses/{id}/cancel")["status"] for id in held} == {"cancelled"}


def _text(response: dict[str, Any]) -> str:
    text: str = response["output"][0]["content"][0]["text"]
    return text


@directions
async def test_a_stop_reaches_the_other(releases: Releases, writer: str, other: str) -> None:
    async with connected(releases.nodes[writer].ws) as client, connected(releases.nodes[other].ws) as stopper:
        await client.create("[tokens=5000]")
        events = [await client.event() for _ in range(10)]
        beats = Beats(releases.redis.url)
        await stopper.send({"type": "throughline:cancel", "response_id": events[0]["response"]["id"]})
        events += await client.events()
    assert beats.seconds() < 2
    beats.close()
    assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.incomplete", "cancelled")
    assert numbers(events) == list(range(len(events)))


@directions
def test_a_stop_of_a_silent_turn_is_told_to_its_owner(releases: Releases, writer: str, other: str) -> None:
    """Without the message it would be found by the owner's round over all turns, of which there is one a second."""
    seconds = []
    with releases.client(writer) as here, releases.client(other) as there:
        for _ in range(3):
            id = _post(here, "responses", **HELD)["id"]
            beats = Beats(releases.redis.url)
            assert _post(there, f"responses/{id}/cancel")["status"] == "cancelled"
            seconds.append(beats.seconds())
            beats.close()
    assert median(seconds) < 0.7


# -- history -----------------------------------------------------------------------------------------------------


@directions
def test_a_chain_is_continued_and_branched_by_turns(releases: Releases, writer: str, other: str) -> None:
    with releases.client(writer) as here, releases.client(other) as there:
        assert _chain([here, there, here, there]) == _chain([here, here, here, here])


def _chain(nodes: list[httpx2.Client]) -> list[str]:
    """The texts of a chain, each turn on its node; the last one branches off behind the first. Each text is a digest
    of all that was said before.
    """
    said: list[dict[str, Any]] = []
    for number, http in enumerate(nodes):
        before = said[0 if number == len(nodes) - 1 else -1]["id"] if said else None
        said.append(
            _post(http, "responses", input=f"{number} [tokens=6]", previous_response_id=before, metadata={"n": "ü"})
        )
    return [_text(response) for response in said]


@directions
def test_a_stored_response_is_read_and_deleted_by_the_other(releases: Releases, writer: str, other: str) -> None:
    with releases.client(writer) as here, releases.client(other) as there:
        ask = [{"role": "user", "content": "Hör zu"}, {"role": "user", "content": "[tokens=5]"}]
        response = _post(here, "responses", input=ask, metadata={"topic": "ä"})
        at = f"responses/{response['id']}"
        assert _get(there, at) == _get(here, at) == response
        items = _get(there, f"{at}/input_items")
        assert items == _get(here, f"{at}/input_items")
        assert len(items["data"]) == 2
        assert there.get(at, params={"stream": "true"}).text == here.get(at, params={"stream": "true"}).text
        assert there.delete(at).status_code == 200
        assert here.get(at).status_code == there.get(at).status_code == 404


@directions
def test_an_idempotency_key_is_one_turn_on_both(releases: Releases, writer: str, other: str) -> None:
    body = {"input": "[tokens=5]", "idempotency_key": f"once on {writer}"}
    with releases.client(writer) as here, releases.client(other) as there:
        assert _post(there, "responses", **body) == _post(here, "responses", **body)
        assert there.post("responses", json=body | {"input": "Other"}).status_code == 409


@directions
def test_a_conversation_is_read_changed_and_continued_by_the_other(releases: Releases, writer: str, other: str) -> None:
    with releases.client(writer) as here, releases.client(other) as there:
        assert _conversation(here, there) == _conversation(here, here)


def _conversation(here: httpx2.Client, there: httpx2.Client) -> list[Any]:
    """A conversation's life on two nodes: all that each read of it, without ids and times."""
    items = [{"type": "message", "role": "user", "content": text} for text in ("eins", "zwei")]
    at = f"conversations/{_post(here, 'conversations', metadata={'topic': 'ä'}, items=items)['id']}"
    id = at.rpartition("/")[2]
    seen: list[Any] = [_get(there, at)["metadata"], id in {each["id"] for each in _get(there, "conversations")["data"]}]
    seen.append(_text(_post(there, "responses", input="1 [tokens=6]", conversation=id)))
    _post(here, f"{at}/items", items=[{"type": "message", "role": "user", "content": "drei"}])
    first = _get(there, f"{at}/items?order=asc")["data"][0]["id"]
    assert there.delete(f"{at}/items/{first}").status_code == 200
    assert here.get(f"{at}/items/{first}").status_code == 404
    _post(there, at, metadata={"topic": "ö"})
    seen.append(_text(_post(here, "responses", input="2 [tokens=6]", conversation=id)))
    listed = [_get(http, f"{at}/items?order=asc&limit=50")["data"] for http in (here, there)]
    assert listed[0] == listed[1]
    seen += [_get(here, at)["metadata"], [_anonymous(item) for item in listed[0]]]
    assert there.delete(at).status_code == 200
    assert here.get(at).status_code == 404
    return seen


@directions
def test_a_turn_locks_its_conversation_for_the_other(releases: Releases, writer: str, other: str) -> None:
    with releases.client(writer) as here, releases.client(other) as there:
        id = _post(here, "conversations")["id"]
        turn = _post(here, "responses", **HELD, conversation=id)["id"]
        assert _get(there, f"conversations/{id}")["active_response_id"] == turn
        refused = there.post("responses", json={"input": "Now", "conversation": id})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "conversation_locked")
        _post(there, f"responses/{turn}/cancel")
        assert _post(there, "responses", input="[tokens=5]", conversation=id)["status"] == "completed"


# -- what is stored ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["running", "finished", "unkept"])
def test_both_write_the_same_keys_and_fields(releases: Releases, kind: str) -> None:
    """This release may write more fields than the previous one, and none fewer."""
    old, new = (_stored(releases, release, kind) for release in ("old", "new"))
    assert old.keys() == new.keys()
    for key, fields in old.items():
        assert fields <= new[key], key


def _stored(releases: Releases, release: str, kind: str) -> dict[str, set[str]]:
    """By key, without the response's id: the type of its value, and the names in a hash."""
    body = {"input": "[tokens=5]"} if kind != "running" else HELD
    with releases.client(release) as http, Redis.from_url(releases.redis.url) as redis:
        parent = _post(http, "responses", input="[tokens=5]")["id"]
        id = _post(http, "responses", **body, previous_response_id=parent, store=kind != "unkept")["id"]
        found = {}
        for key in redis.scan_iter(f"*{id}*"):
            type = redis.type(key).decode()
            names = {name.decode() for name in redis.hkeys(key)} if type == "hash" else set()
            found[key.decode().replace(id, "ID")] = {f"a {type}", *names}
        if kind == "running":
            _post(http, f"responses/{id}/cancel")
    assert found
    return found
