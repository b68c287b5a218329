"""Which command was asked for. A command's own imports wait until it is: vLLM's and Redis' take seconds."""

import sys
from collections.abc import Sequence

from server.settings import BadSetting, Settings, load, usage

HELP = f"""Throughline: a chat server for your own GPUs.

  python -m server [flags] [-- vLLM's own engine options]
  python -m server doctor [flags]      say what was found here, and what is wrong

Every setting is a flag and an environment variable of the same name:
{usage()}
"""


def main(arguments: Sequence[str]) -> int:
    """Run a command; the exit status. 2: a setting is wrong, and was named on standard error."""
    if {"-h", "--help"} & set(arguments[:1]):
        print(HELP)
        return 0
    named = arguments[:1] == ["doctor"]
    command = _doctor if named else _serve
    try:
        return command(load(arguments[1:] if named else arguments))
    except BadSetting as error:
        from server.log_config import printable

        print(f"throughline: {printable(str(error))}", file=sys.stderr)
        return 2


def _doctor(settings: Settings) -> int:
    from server.cli.doctor import report
    from server.cli.machine import model_path

    return report(settings, lambda: model_path(settings))


def _serve(settings: Settings) -> int:
    from server.cli.serve import serve

    return serve(settings)
