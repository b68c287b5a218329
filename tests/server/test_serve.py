"""The web server around a node."""

import gc

from server.serve import FULL_COLLECTION_AFTER, OVERDUE_AFTER, collect_when_idle, freeze_loaded_objects


def test_what_was_loaded_is_not_looked_through_again() -> None:
    before = len(gc.get_objects())
    try:
        freeze_loaded_objects()
        assert gc.get_freeze_count() > before / 2
        assert len(gc.get_objects()) < before / 2
    finally:
        gc.unfreeze()


def test_a_full_collection_waits_for_a_moment_in_which_nothing_runs() -> None:
    """Python's own would come after 10 of the middle generation."""
    before = gc.get_threshold()
    try:
        freeze_loaded_objects()
        assert gc.get_threshold() == (*before[:2], FULL_COLLECTION_AFTER)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def test_an_idle_node_catches_up_with_what_is_overdue() -> None:
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], FULL_COLLECTION_AFTER)
    try:
        gc.collect()
        collect_when_idle()
        assert gc.get_count()[2] == 0
        while gc.get_count()[2] <= OVERDUE_AFTER:
            gc.collect(1)
        collect_when_idle()
        assert gc.get_count()[2] == 0
    finally:
        gc.set_threshold(*before)
