"""The web server around a node."""

import gc

from server.serve import settle


def test_what_was_loaded_is_not_looked_through_again() -> None:
    before = len(gc.get_objects())
    try:
        settle()
        assert gc.get_freeze_count() > before / 2
        assert len(gc.get_objects()) < before / 2
    finally:
        gc.unfreeze()
