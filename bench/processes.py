"""CPU and memory of processes, from proc(5): those of a server, its children and its engine."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
ENGINE = r"EngineCore|VLLM::Worker"  # how vLLM names the processes that compute
STORE = r"redis-server|valkey-server"


class Entry(msgspec.Struct, frozen=True):
    """One process of the table, its children not included."""

    pid: int
    parent: int
    group: int
    cpu: float  # seconds, user and system
    rss: int  # bytes
    command: str


class ResourceUsage(msgspec.Struct, frozen=True):
    """Sums over a family: what serves, the store among it, and the engine apart."""

    serving_cpu: float = 0.0  # seconds, the store's included
    store_cpu: float = 0.0
    engine_cpu: float = 0.0
    serving_rss: int = 0  # bytes
    engine_rss: int = 0


def table() -> dict[int, Entry]:
    """All processes that can be read now."""
    entries = (entry(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit())
    return {each.pid: each for each in entries if each is not None}


def entry(pid: int) -> Entry | None:
    """The entry of one process, or None where it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return parse(pid, stat, command.replace(b"\0", b" ").decode(errors="replace"))


def parse(pid: int, stat: str, command: str) -> Entry:
    """An entry from the text of `/proc/PID/stat`; a command may hold spaces and parentheses."""
    name = stat.partition("(")[2].rpartition(")")[0]
    fields = stat.rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / TICKS
    return Entry(pid, int(fields[1]), int(fields[2]), cpu, int(fields[21]) * PAGE, command.strip() or name)


def family(roots: Iterable[int], entries: Mapping[int, Entry]) -> set[int]:
    """Processes and all their descendants, as far as they are in the table."""
    found = set(roots) & entries.keys()
    while more := {each.pid for each in entries.values() if each.parent in found} - found:
        found |= more
    return found


def split(entries: Iterable[Entry], engine: str = ENGINE, engine_pids: Iterable[int] = ()) -> ResourceUsage:
    """Sum them up by what they are; `engine` is a pattern of command lines."""
    own = set(engine_pids)
    every = list(entries)
    engines = [each for each in every if each.pid in own or re.search(engine, each.command)]
    serving = [each for each in every if each not in engines]
    return ResourceUsage(
        serving_cpu=sum(each.cpu for each in serving),
        store_cpu=sum(each.cpu for each in serving if re.search(STORE, each.command)),
        engine_cpu=sum(each.cpu for each in engines),
        serving_rss=sum(each.rss for each in serving),
        engine_rss=sum(each.rss for each in engines),
    )


def usage(roots: Iterable[int], engine: str = ENGINE, engine_pids: Iterable[int] = ()) -> ResourceUsage:
    """CPU and memory that these processes and their descendants have used up to now."""
    entries = table()
    return split([entries[pid] for pid in family(roots, entries)], engine, engine_pids)


def per_token(before: ResourceUsage, after: ResourceUsage, tokens: int) -> dict[str, float | int]:
    """CPU between two readings, divided by the tokens generated in between, in microseconds."""
    each = 1e6 / tokens if tokens else 0.0
    return {
        "server_cpu_us_per_token": (after.serving_cpu - before.serving_cpu) * each,
        "store_cpu_us_per_token": (after.store_cpu - before.store_cpu) * each,
        "engine_cpu_us_per_token": (after.engine_cpu - before.engine_cpu) * each,
        "server_rss_bytes": after.serving_rss,
        "engine_rss_bytes": after.engine_rss,
    }
