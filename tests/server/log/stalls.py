"""When a journal stalled while a test broke things."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

from server.log.committer import GroupCommitter
from server.log.journal import Journal


@asynccontextmanager
async def stall_changes(journal: Journal) -> AsyncIterator[list[bool]]:
    """Each change of `journal.stalled`, which is False at first, up to the end of the block.

    Seen where it happens: whoever looks from time to time misses short ones on a busy machine.
    """
    changes: list[bool] = []
    set_stalled = GroupCommitter._set_stalled

    def observed(committer: GroupCommitter, *, stalled: bool) -> None:
        set_stalled(committer, stalled=stalled)
        if journal.stalled != (changes[-1] if changes else False):
            changes.append(journal.stalled)

    with patch.object(GroupCommitter, "_set_stalled", observed):
        yield changes
