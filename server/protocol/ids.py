"""The ids that clients send back to us: their shape, and what is answered for one that cannot be ours.

Every id that this server gives out is short and plain. A text of another shape names nothing, so it is answered like
any other id that nobody knows, without being looked up or kept anywhere.
"""

import re

from server.protocol.errors import not_found, previous_not_found

MAX_ID = 128  # characters; our own have about 30
SHAPE = r"[!-~]{1,128}"  # printable ASCII without the space


def is_id(text: str) -> bool:
    """Whether a text can be the id of anything here."""
    return len(text) <= MAX_ID and re.fullmatch(SHAPE, text) is not None


def check_id(kind: str, id: str) -> str:
    """The id of a `kind` of thing, if it has the shape of one. Raises WireError 404, as for one that is not known."""
    if not is_id(id):
        raise not_found(kind, id)
    return id


def check_previous(id: str) -> None:
    """The same for `previous_response_id`. Raises WireError 400 `previous_response_not_found`."""
    if not is_id(id):
        raise previous_not_found(id)
