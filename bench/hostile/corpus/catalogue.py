"""All families, and a seeded choice of their inputs."""

from collections.abc import Iterator
from random import Random

from bench.hostile.corpus.bodies import BODIES
from bench.hostile.corpus.connections import CONNECTIONS
from bench.hostile.corpus.family import Family, Ground
from bench.hostile.corpus.names import NAMES
from bench.hostile.corpus.state import STATE
from bench.hostile.corpus.structures import STRUCTURES
from bench.hostile.inputs import Input

CATALOGUE: tuple[Family, ...] = (*BODIES, *STRUCTURES, *NAMES, *CONNECTIONS, *STATE)


def family(name: str) -> Family:
    """One of them. Raises KeyError."""
    return {each.name: each for each in CATALOGUE}[name]


def inputs(name: str, ground: Ground, seed: int, only: str = "") -> list[Input]:
    """A family's inputs in an order that the seed draws; those whose name contains `only`."""
    random = Random(f"{seed} {name}")
    found = [each for each in family(name).build(ground, random) if only in each.name]
    random.shuffle(found)
    return found


def endless(given: list[Input]) -> Iterator[Input]:
    """One after the other, again and again."""
    while True:
        yield from given
