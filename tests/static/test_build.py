"""The built page belongs to its sources; no Node is needed to tell."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

STATIC = Path(__file__).parents[2] / "static"
SOURCES = STATIC / "src"
DIST = STATIC / "dist"
SOURCE = re.compile(r"\.(ts|mjs|css|html|svg|json)$")
NOT_BUILT = re.compile(r"\.test\.ts$|^package-lock")


def fingerprint() -> str:
    """What `build.mjs` wrote down: name, NUL, bytes, NUL of each source in order."""
    digest = hashlib.sha256()
    for name in sorted(path.name for path in SOURCES.iterdir()):
        if not SOURCE.search(name) or NOT_BUILT.search(name):
            continue
        digest.update(name.encode() + b"\0" + (SOURCES / name).read_bytes() + b"\0")
    return digest.hexdigest()


def test_the_build_is_not_stale() -> None:
    built = json.loads((DIST / "manifest.json").read_text())["sources"]
    assert built == fingerprint(), "static/src changed: run `npm install && npm run build` there"


def test_the_page_stays_small() -> None:
    assert len(gzip.compress((DIST / "widget.js").read_bytes(), 9)) <= 40 * 1024


def test_what_is_bundled_brings_its_license() -> None:
    package = json.loads((SOURCES / "package.json").read_text())
    text = (DIST / "licenses.txt").read_text()
    assert all(f"{name}\n\n" in text for name in package["dependencies"])


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = (DIST / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    assert all(address.startswith("/") for address in re.findall(r'(?:src|href)="([^"]*)"', page))


def test_no_source_parses_html() -> None:
    parses = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser")
    assert not [source.name for source in SOURCES.glob("*.ts") if parses.search(source.read_text())]


def test_versions_are_exact_and_there_is_no_lock_file() -> None:
    package = json.loads((SOURCES / "package.json").read_text())
    versions = [*package["dependencies"].values(), *package["devDependencies"].values()]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)
    assert not (SOURCES / "package-lock.json").exists()
