"""How a schema is refused: by the path of what cannot be held to."""

from engine.base import BadParameter

MAX_KEY = 64  # characters of one key in a path


def under(path: str, key: str | int) -> str:
    """The path of a part: `text.format.schema` and `properties` are `text.format.schema.properties`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key if len(key) <= MAX_KEY else key[:MAX_KEY] + '…'}"


def wrong(path: str, reason: str) -> BadParameter:
    """What no schema may say."""
    return BadParameter(path, reason)


def unenforceable(path: str, keyword: str, reason: str = "") -> BadParameter:
    """What a schema may say and no grammar here can hold an answer to."""
    said = f"an answer cannot be held to '{keyword}'"
    return BadParameter(under(path, keyword), f"{said}: {reason}" if reason else said)
