"""What the documentation points to exists: files, headings, and the names that files are said to hold."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", ".github/*.md", "bench/*.md", "engine/demo/*.md", "requirements/*.md")
    for path in ROOT.glob(pattern)
)
# Pages that name files from the repository's root.
NAMING = [path for path in PAGES if path.parent in {ROOT, ROOT / "docs", ROOT / ".github"}]
TOP_LEVEL = "bench|docs|engine|requirements|server|static|tests|.github|.ci"

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(rf"`((?:{TOP_LEVEL.replace('.', re.escape('.'))})/[\w./*-]*)[^`]*`")
NAMED = re.compile(r"((?:`\w+(?:\.\w+)?`, )*`\w+(?:\.\w+)?`) in `([\w/]+\.py)`")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> str:
    """Without code blocks, in which `[a](b)` is no link."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """As GitHub derives them from headings, the second of a kind with a number."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading).lower())
        slug = slug.strip().replace(" ", "-")
        found.append(f"{slug}-{times}" if (times := found.count(slug)) else slug)
    return set(found)


def broken_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            yield f"{target}: no such heading"


def missing_paths(page: Path) -> Iterator[str]:
    for path in PATH.findall(prose(page)):
        if not any(ROOT.glob(path)) and not (ROOT / path).exists():
            yield path


def defined(module: Path) -> dict[str, set[str]]:
    """The names at a module's top level, each with the names of its body where it is a class."""
    found: dict[str, set[str]] = {}
    for node in ast.parse(module.read_text()).body:
        for each in names(node):
            inner = node.body if isinstance(node, ast.ClassDef) else []
            found[each] = {name for line in inner for name in names(line)}
    return found


def names(node: ast.stmt) -> list[str]:
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [node.name]
        case ast.Assign():
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=id)):
            return [id]
    return []


def undefined_names(page: Path) -> Iterator[str]:
    """Of `Name` in `path.py` and `Name.attribute` in `path.py`. A lower-case name may be any class's attribute, too."""
    for listed, path in NAMED.findall(prose(page)):
        known = defined(ROOT / path) if (ROOT / path).exists() else {}
        attributes = set().union(*known.values())
        for each in re.findall(r"[\w.]+", listed):
            first, _, attribute = each.partition(".")
            found = attribute in known.get(first, ()) if attribute else first in known
            if not found and not (first.islower() and first in attributes):
                yield f"{each} in {path}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


@pytest.mark.parametrize("page", NAMING, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    assert list(missing_paths(page)) == []


@pytest.mark.parametrize("page", NAMING, ids=name)
def test_names_stand_in_the_files_that_are_said_to_hold_them(page: Path) -> None:
    assert list(undefined_names(page)) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=name)
def test_each_page_of_docs_ends_with_its_known_limitations(page: Path) -> None:
    assert re.findall(r"^## (.+)$", prose(page), re.MULTILINE)[-1] == "Known limitations"


def test_a_missing_file_a_missing_heading_and_a_missing_name_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading, twice\n# A heading, twice\n[good](#a-heading-twice-1) [bad](#none)\n"
        "[gone](gone.md) [far](https://a.b)\n"
        "`server/gone.py`, `server/app.py`, `server/web/`, `tests/server/test_*.py`, `server/nobody_*.py`\n"
        "`Gone` in `server/app.py`, `create_app` in `server/app.py`\n"
        "`Lease.fence`, `Lease.gone` in `server/store/types.py`\n"
        "```\n[code](no-link)\n```\n"
    )
    assert list(broken_links(page)) == ["#none: no such heading", "gone.md: no such file"]
    assert list(missing_paths(page)) == ["server/gone.py", "server/nobody_*.py"]
    assert list(undefined_names(page)) == ["Gone in server/app.py", "Lease.gone in server/store/types.py"]


def own_events(text: str) -> set[str]:
    return set(re.findall(r"throughline:[a-z_]+", text))


def test_the_protocol_lists_every_event_of_our_own() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "server").rglob("*.py"))
    listed = re.findall(r"^\| `(throughline:[a-z_]+)` \|", (ROOT / "docs" / "protocol.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(own_events(source))


def test_the_protocol_lists_only_error_codes_that_the_server_sends() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "server").rglob("*.py"))
    errors = prose(ROOT / "docs" / "protocol.md").partition("## Errors")[2]
    codes = [
        code for codes in re.findall(r"^\| (`[a-z_`, ]+) \| \d", errors, re.MULTILINE) for code in codes.split(", ")
    ]
    assert len(codes) > 20
    assert [code for code in codes if f'"{code.strip("`")}"' not in source] == []
