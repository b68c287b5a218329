"""`python -m bench.hostile.probed SOCKET ARGUMENTS`: `python -m server ARGUMENTS` under a loop probe.

The server knows nothing of it: uvloop's class is patched before anybody makes a loop. Processes that the server starts
are not probed.
"""

import runpy
import sys
from pathlib import Path

import uvloop

from bench.hostile.probe import LoopProbe, Reporter


def main() -> None:
    """Run the server as this process's main module."""
    path, *arguments = sys.argv[1:]
    probe = LoopProbe()
    probe.attach(uvloop.Loop)
    Reporter(probe, Path(path)).start()
    sys.argv = ["server", *arguments]
    runpy.run_module("server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
