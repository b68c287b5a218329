"""The release has one version, and names the release that it must be able to run beside."""

import re
from pathlib import Path

from server.telemetry.instruments import release

ROOT = Path(__file__).parents[1]


def test_the_changelog_begins_with_the_version_that_the_server_reports() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == release()


def test_the_changelog_lists_versions_once_and_newest_first() -> None:
    versions = re.findall(r"^## (\d+)\.(\d+)\.(\d+)\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    numbers = [tuple(map(int, version)) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)


def test_the_release_before_is_one_full_commit_hash() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}\n", (ROOT / "tests" / "previous-release").read_text())
