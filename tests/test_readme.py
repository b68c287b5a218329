"""What the README says of settings is what the code does."""

import re
from pathlib import Path

from server.settings import TABLE

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_settings_table_is_the_code_s() -> None:
    """Name, default and words of every row, in order."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\| (.*) \|$", README, re.MULTILINE)
    assert [(name, default) for name, default, _ in rows] == [(row.name, row.default) for row in TABLE]
    for (_, _, words), row in zip(rows, TABLE, strict=True):
        assert words.startswith(row.help)


def test_the_first_lines_say_what_it_is_and_how_to_start_and_test_it() -> None:
    """A stranger reads no further before typing."""
    assert 0 < README.index("chat server") < README.index("$ make serve") < README.index("$ make test")


def test_every_page_is_linked() -> None:
    """Nobody looks for a page that the README does not mention."""
    root = Path(__file__).parents[1]
    pages = [path.relative_to(root) for path in (*root.glob("*.md"), *(root / "docs").glob("*.md"))]
    assert [str(page) for page in pages if page.name != "README.md" and f"]({page})" not in README] == []
