"""Made-up machines, and what is said of each: what was found, what is needed, what to do."""

import re

import pytest

from server.cli import needs
from server.cli.needs import GIB, MachineFacts, MemoryFacts, ModelFacts

KIB = 1 << 10
LARGE = ModelFacts(weights=140 * 10**9, token_cache=320 * KIB, context=8192)
SMALL = ModelFacts(weights=8 * GIB, token_cache=128 * KIB, context=32_768)  # 4 GiB for one context

MEMORY: list[tuple[ModelFacts, MemoryFacts, bool, str]] = [
    (LARGE, MemoryFacts(23 * GIB), False, "140|130.4 GiB of weights.*smaller or quantized model"),
    (LARGE, MemoryFacts(300 * GIB), True, "300.0 GiB of main memory are free"),
    (LARGE, MemoryFacts(300 * GIB, (80 * GIB,)), False, "72.0 GiB on 1 GPU may be used.*smaller"),
    (LARGE, MemoryFacts(300 * GIB, (80 * GIB,) * 4, shares=1), False, "1 GPU may"),
    (LARGE, MemoryFacts(9 * GIB, (80 * GIB,) * 4, shares=2), True, "144.0 GiB on 2 GPUs may be used"),
    (LARGE, MemoryFacts(9 * GIB, (80 * GIB, 24 * GIB), shares=2), False, "43.2 GiB on 2 GPUs"),
    (SMALL, MemoryFacts(18 * GIB), True, "8.0 GiB of cache for 2 contexts of 32768 tokens"),
    (SMALL, MemoryFacts(14 * GIB), False, "--max-model-len 16384"),
    (SMALL, MemoryFacts(9 * GIB), False, "smaller or quantized"),
    (SMALL, MemoryFacts(4 * GIB, (24 * GIB,)), True, "4.0 GiB of cache for one context of 32768 tokens"),
    (SMALL, MemoryFacts(4 * GIB, (24 * GIB,), gpu_share=0.5), False, "--max-model-len 24576"),
    (ModelFacts(weights=8 * GIB), MemoryFacts(11 * GIB), True, "8.0 GiB of weights and 2.0 GiB beside them"),
    (ModelFacts(weights=8 * GIB), MemoryFacts(9 * GIB), False, "smaller"),
    (ModelFacts(), MemoryFacts(1 * GIB), True, "known once it is here"),
]


@pytest.mark.parametrize(("model", "memory", "well", "words"), MEMORY, ids=[str(n) for n in range(len(MEMORY))])
def test_memory_against_weights_and_cache(model: ModelFacts, memory: MemoryFacts, well: bool, words: str) -> None:
    (finding,) = needs.memory(model, memory)
    assert finding.well is well
    assert re.search(words, finding.found)


def test_the_context_that_is_advised_fits() -> None:
    (finding,) = needs.memory(SMALL, MemoryFacts(14 * GIB))
    advised = re.search(r"--max-model-len (\d+)", finding.found)
    assert advised
    (again,) = needs.memory(ModelFacts(SMALL.weights, SMALL.token_cache, int(advised[1])), MemoryFacts(14 * GIB))
    assert again.well


def test_weights_that_are_not_all_there() -> None:
    assert needs.weights("/m", ModelFacts(weights=5 * GIB)).well
    part = needs.weights("/m", ModelFacts(weights=5 * GIB, missing=2 * GIB))
    assert (part.well, "2.0 GiB are not there" in part.found) == (False, True)
    assert not needs.weights("/m", ModelFacts()).well


MACHINES: list[tuple[MachineFacts, str, bool, str]] = [
    (MachineFacts(disk_free=GIB), "Disk", False, "1.0 GiB are free.*2.0 GiB are needed.*another DATA_DIR"),
    (MachineFacts(disk_free=5 * GIB), "Disk", True, "which is little"),
    (MachineFacts(disk_free=50 * GIB), "Disk", True, "50.0 GiB are free"),
    (MachineFacts(disk_free=GIB, embedded_redis=False), "Disk", True, "1.0 GiB"),
    (MachineFacts(descriptors=(256, 4096)), "Files", False, "1024 are needed: 'ulimit -n 4096'"),
    (MachineFacts(descriptors=(256, 256)), "Files", False, "LimitNOFILE"),
    (MachineFacts(descriptors=(1024, 1 << 20)), "Files", True, "65536 are better: 'ulimit -n 65536'"),
    (MachineFacts(descriptors=(1024, -1)), "Files", True, "'ulimit -n 65536'"),
    (MachineFacts(descriptors=(65_536, 65_536)), "Files", True, "65536 descriptors may be open$"),
    (MachineFacts(descriptors=(-1, -1)), "Files", True, "any number"),
    (MachineFacts(overcommit=0), "Kernel", True, "sysctl -w vm.overcommit_memory=1"),
    (MachineFacts(overcommit=1), "Kernel", True, "is 1$"),
    (MachineFacts(overcommit=2), "Kernel", False, "sysctl -w vm.overcommit_memory=1"),
    (MachineFacts(huge_pages="always"), "Kernel", True, "transparent huge pages"),
]


@pytest.mark.parametrize(("facts", "what", "well", "words"), MACHINES, ids=[str(n) for n in range(len(MACHINES))])
def test_the_machine(facts: MachineFacts, what: str, well: bool, words: str) -> None:
    (finding,) = needs.machine(facts)
    assert (finding.what, finding.well) == (what, well)
    assert re.search(words, finding.found)


@pytest.mark.parametrize(
    "facts", [MachineFacts(), MachineFacts(overcommit=2, huge_pages="always", embedded_redis=False)]
)
def test_what_is_not_known_or_not_needed_is_not_said(facts: MachineFacts) -> None:
    assert list(needs.machine(facts)) == []


def test_a_collector() -> None:
    assert needs.collector("http://c:4318", None).well
    silent = needs.collector("http://c:4318", "timed out")
    assert (silent.well, "http://c:4318 does not answer (timed out)" in silent.found) == (False, True)
