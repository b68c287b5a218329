"""What is kept and what is missed."""

import pytest

from bench.hostile.node import ROOT
from bench.hostile.outcome import Outcome
from bench.hostile.polite import Figures
from bench.hostile.probe import Reading
from bench.hostile.table import render, summary
from bench.hostile.verdict import Documented, Row, Run, Targets, documented, kept, missed, named, notes

KNOWN = Documented(frozenset({"invalid_type", "server_error"}), frozenset({"1009"}))
USUAL = Targets()


def outcome(due: int = 1, closed: str = "", good: int = 0) -> Outcome:
    return Outcome("an input", due, good=good, refused={}, bare=[], broken=[], closed=closed)


def row(**changes: object) -> Row:
    """A family in which nothing is wrong, but for the changes."""
    fine: dict[str, object] = {
        "family": "items",
        "outcomes": [outcome(good=1)],
        "size": 1000,
        "loop": Reading(callback=0.049),
        "control_loop": Reading(),
        "polite": [Figures(100, 0.110, 0.030, [])],
        "control": [Figures(100, 0.100, 0.030, [])],
        "node_memory": 49_000_000,
        "engine_memory": 0,
        "alive": True,
        "errors": [],
    }
    return Row(**{**fine, **changes})  # type: ignore[arg-type]


def test_everything_within_its_promise_is_kept() -> None:
    assert list(missed(row(), USUAL)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"alive": False}, "the node died"),
        ({"loop": Reading(callback=0.051)}, "a callback of 51 ms"),
        ({"polite": [Figures(100, 0.121, 0.030, [])]}, "polite TTFT p99 + 21 ms"),
        ({"polite": [Figures(100, 0.100, 0.055, [])]}, "polite gaps p99 + 25 ms"),
        ({"polite": [Figures(100, 0.100, 0.030, ["cut"])]}, "1 polite questions failed"),
        ({"node_memory": 51_000_000}, "51 MB stay"),
        ({"outcomes": [outcome()]}, "1 inputs: without an answer"),
        ({"outcomes": [outcome(closed="eof")]}, "1 inputs: dropped without a word"),
    ],
)
def test_each_promise_can_be_missed(changes: dict[str, object], said: str) -> None:
    assert list(missed(row(**changes), USUAL)) == [said]


def test_an_error_inside_the_server_is_missed() -> None:
    each = outcome()
    each.http(500, b'{"error":{"code":"server_error","message":"The server had an error."}}')
    assert list(missed(row(outcomes=[each]), USUAL)) == ["1 inputs: an error inside the server"]


def test_the_median_of_pairs_counts() -> None:
    """One bad second of the machine is not the input's doing."""
    bad, good = Figures(100, 0.400, 0.030, []), Figures(100, 0.101, 0.030, [])
    assert list(missed(row(polite=[bad, good, good], control=[Figures(100, 0.1, 0.03, [])] * 3), USUAL)) == []


def test_a_short_run_looks_at_fewer_promises() -> None:
    short = Targets(callback=1.0, polite=None, memory=None)
    assert list(missed(row(node_memory=10**9, control=[], loop=Reading(callback=0.9)), short)) == []


def test_a_refusal_names_its_reason_by_code_and_word() -> None:
    each = outcome(due=4)
    each.event(b'{"type":"error","status":400,"error":{"code":"invalid_type","message":"Invalid \'a\'."}}')
    each.event(b'{"type":"error","status":400,"error":{"code":"invalid_type"}}')
    each.http(400, b"")
    each.http(418, b'{"error":{"code":"teapot","message":"I am one."}}')
    assert each.refusals == 4
    assert len(each.bare) == 2
    assert named([each], KNOWN)[1] == 4


def test_a_close_with_a_documented_code_names_its_reason() -> None:
    assert named([outcome(closed="1009")], KNOWN) == (1, 1)
    assert named([outcome(closed="1002")], KNOWN) == (0, 1)


def test_a_turn_that_still_runs_is_an_answer() -> None:
    each = outcome()
    each.event(b'{"type":"response.created"}')
    assert not each.silent
    each.event(b'{"type":"response.completed"}')
    assert (each.good, each.answers) == (1, 1)


def test_the_documented_words_are_read_from_the_page() -> None:
    known = documented((ROOT / "docs" / "protocol.md").read_text())
    assert {"context_length_exceeded", "invalid_type", "rate_limit_exceeded"} <= known.codes
    assert {"1008", "1009", "1013"} <= known.closes


def test_a_miss_is_explained() -> None:
    slow = outcome(good=1)
    slow.began, slow.ended = 10.0, 11.0
    found = row(
        outcomes=[slow], loop=Reading(callback=0.2, at=10.5, stacks={"protocol/items.py named": 3}, looked_at=0.2)
    )
    assert any("an input" in note for note in notes(found, USUAL, KNOWN))
    text = render([found], USUAL, KNOWN)
    assert "items: MISSED: a callback of 200 ms" in text
    assert "protocol/items.py named" in text


def test_all_promises_are_summed_up() -> None:
    assert "MISSED" not in summary(Run([row()], 0), USUAL)
    assert "deaths 1, promised none: MISSED" in summary(Run([row(alive=False)], 0), USUAL)
    assert "longest callback 51 ms, promised 50 ms: MISSED" in summary(
        Run([row(loop=Reading(callback=0.051))], 0), USUAL
    )
    assert "+ 60 MB" in summary(Run([row()], 60_000_000), USUAL)


def test_a_run_is_kept_if_every_family_and_the_memory_of_all_are() -> None:
    assert kept(Run([row()], 0), USUAL)
    assert not kept(Run([row(), row(alive=False)], 0), USUAL)
    assert not kept(Run([row()], 60_000_000), USUAL)
