import pytest

from engine.schema.pattern import PatternError, check_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "^a{1,1000}b{1,1000}$",
        r"^\d{4}-\d{2}-\d{2}$",
        "^([a-z]{1,10}){1,20}$",
        "[]{2}]{3}",
        r"^[^\]]*\{5\}$",
        "a" * 4000,
        "^(?:a|b)+$",
        "{",
    ],
)
def test_ordinary_patterns_pass(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("^(([a-z]{1,30}){1,30}){1,29}$", "repeats"),
        ("a{2100}bc{2}", "repeats"),
        ("(a{100}){100}", "repeats"),
        ("((((a{9}){9}){9}){9}", "repeats"),  # a group that is never closed counts too
        ("a{5000,}", "repeats"),
        ("^(?!a)b", "look-ahead"),
        ("(?<=a)b", "look-behind"),
        (r"\bword\b", "word boundaries"),
        (r"(a)\1", "references to a group"),
        (r"(?P<x>a)\k<x>", "references to a group"),
        ("a" * 5000, "characters"),
    ],
)
def test_what_no_grammar_follows_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=reason):
        check_pattern(pattern)
