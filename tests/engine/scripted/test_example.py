import time
from typing import Any

import pytest

from bench.schemas.table import NO_PATTERN, cases
from engine.base import BadParameter
from engine.scripted.example import example
from tests.speed import slowness

REFUSED = [case for case in cases() if case.refused is not None and case.name != NO_PATTERN]


@pytest.mark.parametrize("case", [case for case in cases() if case.refused is None], ids=lambda case: case.name)
def test_there_is_one_of_every_ordinary_schema(case: Any) -> None:
    example(case.schema)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_the_real_engine_refuses_is_refused(case: Any) -> None:
    with pytest.raises(BadParameter):
        example(case.schema)


def test_a_recursive_schema_has_a_finite_one() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    assert example(node) == {"next": None}


def test_one_that_doubles_at_each_step_is_refused_in_no_time() -> None:
    steps = {
        f"d{i}": {
            "type": "object",
            "properties": {n: {"$ref": f"#/$defs/d{i + 1}"} for n in "ab"},
            "required": ["a", "b"],
        }
        for i in range(40)
    }
    start = time.process_time()
    with pytest.raises(BadParameter):
        example({"$defs": {**steps, "d40": {"type": "null"}}, "$ref": "#/$defs/d0"})
    assert time.process_time() - start < 1.0 * slowness()
