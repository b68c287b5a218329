"""The command line."""

import pytest

from bench.load.lengths import Length
from bench.load.options import parse

NEEDED = ("--target", "ws", "--url", "http://h:1")


def test_options_have_defaults() -> None:
    options, outputs = parse(NEEDED)
    assert (options.target, options.url, options.open_loop, options.concurrency) == ("ws", "http://h:1", False, 1)
    assert (options.output_tokens, options.rules.stall, options.rules.slos) == (Length("fixed", 128.0), 0.25, {})
    assert (outputs.json, outputs.html) == (None, None)


def test_slos_and_lengths_are_parsed() -> None:
    options, _ = parse([*NEEDED, "--slo", "ttft:500", "--slo", "tpot:50", "--output-tokens", "uniform:8,64"])
    assert options.rules.slos == {"ttft": 500.0, "tpot": 50.0}
    assert options.output_tokens == Length("uniform", 8.0, 64.0)


def test_a_rate_or_a_trace_makes_an_open_loop() -> None:
    assert parse([*NEEDED, "--rate", "5"])[0].open_loop
    assert parse([*NEEDED, "--trace", "x.jsonl"])[0].open_loop


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--slo", "speed:1"), "speed:1"),
        (("--slo", "ttft"), "ttft"),
        (("--output-tokens", "many"), "is not a length"),
        (("--concurrency", "0"), "whole number"),
        (("--rate", "1", "--trace", "x"), "exclude"),
        (("--target", "sse", "--lanes", "2"), "--lanes"),
    ],
)
def test_wrong_options_are_named(words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([*NEEDED, *words])
    assert complaint in capsys.readouterr().err
