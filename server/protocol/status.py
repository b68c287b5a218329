"""The states of a turn, in the wire's own words."""

from enum import StrEnum


class Status(StrEnum):
    """`response.status`."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


NEXT: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.IN_PROGRESS, Status.FAILED, Status.CANCELLED}),
    Status.IN_PROGRESS: frozenset({Status.COMPLETED, Status.INCOMPLETE, Status.FAILED, Status.CANCELLED}),
}
FINAL = frozenset(Status) - NEXT.keys()


class IllegalMove(Exception):  # noqa: N818
    """A bug in this node: no turn may move this way."""


def move(now: Status, then: Status) -> Status:
    """The new status. Raises IllegalMove."""
    if then not in NEXT.get(now, frozenset()):
        raise IllegalMove(f"{now} -> {then}")
    return then
