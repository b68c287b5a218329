"""What a node needs of the machine before anything starts: its data folder, its port and its model's folder.

Each is looked at first, so that a setting that cannot work ends in one line that names it.
"""

import errno
import json
import os
import socket
import tempfile
from pathlib import Path

from server.settings import BadSetting, Settings

DEMO = Path(__file__).parents[2] / "engine" / "demo" / "model"
SHOWN_CHARACTERS = 200  # of a path, in messages


def prepare_folder(settings: Settings) -> Path:
    """Make the data folder where it is not there, and write into it. Raises BadSetting."""
    from server.store.redis.data_folder import close_folder

    folder = _folder(settings)
    try:
        close_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, ValueError) as error:  # a null byte is a ValueError
        raise BadSetting("DATA_DIR", f"{_shown(folder)} cannot be used: {_reason(error)}") from None


def check_folder(settings: Settings) -> Path:
    """The same without making anything: whether it could be made. Raises BadSetting."""
    folder = _folder(settings)
    try:
        nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        os.stat(nearest / folder.relative_to(nearest))
    except FileNotFoundError:
        return folder
    except (OSError, ValueError) as error:
        raise BadSetting("DATA_DIR", f"{_shown(folder)} cannot be used: {_reason(error)}") from None
    return folder


def listen(settings: Settings) -> socket.socket:
    """A socket at `HOST` and `PORT`. Raises BadSetting."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        name = "PORT" if error.errno in {errno.EADDRINUSE, errno.EACCES} else "HOST"
        reason = f"{settings.host}:{settings.port} cannot be used: {_reason(error)}"
        raise BadSetting(name, reason) from None
    except (ValueError, TypeError):  # not encodable, as a part of more than 63 characters, or with a null byte
        raise BadSetting("HOST", f"{_shown(settings.host)} is neither a host name nor an address") from None


def model_path(settings: Settings) -> str:
    """Where vLLM finds the model. Raises BadSetting for a folder that holds none."""
    path = str(DEMO) if settings.model == "demo" else os.path.expanduser(settings.model)
    if path.startswith((".", "/")) or os.path.isdir(path):
        _check_model(path)
    return path


def _check_model(path: str) -> None:
    try:
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        raise BadSetting("MODEL", f"{_shown(path)} has no config.json, so it is not a model folder") from None
    except OSError as error:
        raise BadSetting("MODEL", f"{_shown(path)} cannot be read: {_reason(error)}") from None
    except ValueError:
        raise BadSetting("MODEL", f"the config.json in {_shown(path)} is not JSON") from None


def _folder(settings: Settings) -> Path:
    try:
        return settings.folder
    except RuntimeError:
        raise BadSetting("DATA_DIR", "this user has no home folder; name another folder") from None


def _reason(error: OSError | ValueError) -> str:
    """Without the path, which is told already."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _shown(path: Path | str) -> str:
    text = str(path)
    return f"'{text}'" if len(text) <= SHOWN_CHARACTERS else f"'{text[:SHOWN_CHARACTERS]}...'"
