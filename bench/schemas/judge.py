"""What became of one schema: followed, refused by name, or neither."""

import json
from enum import StrEnum
from typing import Any, NamedTuple

import jsonschema

from bench.schemas.table import Case

ROOT = "text.format.schema"


class Outcome(StrEnum):
    """The last two are faults."""

    VALID = "valid"  # a whole answer that fits
    CUT = "cut"  # an answer that its limit of tokens ended
    REFUSED = "refused"  # by the name of what cannot be held to
    LOOSE = "loose"  # an answer that does not fit
    WRONG = "wrong"  # refused where it should not be, without a name, or failed


class Verdict(NamedTuple):
    """One schema's outcome and, for a fault, what was said."""

    name: str
    outcome: Outcome
    detail: str = ""


def judge_refusal(case: Case, param: str | None, message: str) -> Verdict:
    """Of a schema that was refused."""
    wanted = None if case.refused is None else f"{ROOT}.{case.refused}".removesuffix(".")
    if param is None or wanted is None or not _is_name_of(param, wanted):
        return Verdict(case.name, Outcome.WRONG, f"refused as {param}, {wanted} was expected: {message}")
    return Verdict(case.name, Outcome.REFUSED)


def _is_name_of(param: str, path: str) -> bool:
    """A server may cut a long name."""
    return param == path or (param.endswith("…") and len(param) > len(ROOT) + 1 and path.startswith(param[:-1]))


def judge_answer(case: Case, text: str, *, whole: bool) -> Verdict:
    """Of a schema that was answered."""
    if case.refused is not None:
        return Verdict(case.name, Outcome.LOOSE, f"answered, and cannot be followed at {case.refused}: {text}")
    if not whole:
        return Verdict(case.name, Outcome.CUT)
    try:
        value: Any = json.loads(text)
        jsonschema.validate(value, case.schema)
    except (ValueError, jsonschema.ValidationError) as error:
        return Verdict(case.name, Outcome.LOOSE, f"{text}: {str(error).partition(chr(10))[0]}")
    return Verdict(case.name, Outcome.VALID)
