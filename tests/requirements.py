"""What tests need of the machine beside Python."""

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the test, and say why; where CI is set it fails, since a skipped test would pass for one that ran."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)
