"""Ties the engine's processes to the node: when the node dies, however it dies, they die too.

Imported by the forkserver before anything else. It waits on the node itself, because Python's own signal, the end of a
pipe, never comes: engine processes inherit the writing end. Its children ask the kernel to be killed with it, which
holds for an engine that is frozen as well. The node ends, the forkserver ends, the engine ends, the resource tracker
sees that nobody is left and removes shared memory.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import threading
import time

from engine.vllm.process import PREFIX, SOCKETS

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tether() -> None:
    """Called once, in the forkserver, whose parent is the node."""
    with contextlib.suppress(OSError):
        os.setsid()  # Ctrl-C is for the node, which then decides when its engine ends
    node = os.getppid()
    threading.Thread(target=_follow, args=(node,), name="tether", daemon=True).start()
    if sys.platform == "linux":
        _kill_children_with(os.getpid())


def _follow(node: int) -> None:
    _wait_for_end(node)
    folder = os.environ.get(SOCKETS, "")
    if os.path.basename(folder).startswith(PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_for_end(pid: int) -> None:
    try:
        watch = select.poll()
        watch.register(os.pidfd_open(pid), select.POLLIN)
    except (AttributeError, OSError):  # not Linux, or one older than 5.3
        while os.getppid() == pid:
            time.sleep(0.2)
        return
    if os.getppid() == pid:
        watch.poll()


def _kill_children_with(forkserver: int) -> None:
    prctl = ctypes.CDLL(None).prctl

    def in_child() -> None:
        # The forkserver forks from its main thread: the kernel sends this signal when the forking thread ends.
        if os.getppid() == forkserver:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)

    os.register_at_fork(after_in_child=in_child)


if os.environ.get("THROUGHLINE_NODE") == str(os.getppid()):
    tether()
