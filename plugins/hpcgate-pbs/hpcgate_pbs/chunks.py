"""What a script's own words about chunks come to: nodes and cores, for those who count them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from hpcgate.model.spec import JobSpec
from hpcgate_pbs.values import integer


def counted(spec: JobSpec, resources: Mapping[str, str]) -> JobSpec:
    """A spec with the nodes and cores that the script asks for; for counting, not for PBS.

    Args:
        spec: the job, which says nothing of chunks itself.
        resources: the words of ``-l`` by name.
    """
    chunks = list(_chunks(resources))
    nodes = sum(number for number, _ in chunks)
    cores = sum(number * each for number, each in chunks)
    return replace(spec, resources=replace(spec.resources, nodes=nodes, total_cpus_range=(cores, cores)))


def _chunks(resources: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """How many there are of each kind, and the cores of one: ``select=2:ncpus=4+1``, or the older ``nodes=2:ppn=4``."""
    text = resources.get("select") or resources.get("nodes")
    if text is None:
        yield 1, max(1, integer(resources.get("ncpus", "1")) or 1)
        return
    for chunk in text.split("+"):
        first, *words = chunk.split(":")
        number = integer(first)
        if number is None:  # without a number it is one of them: a host, or the words of one
            words.append(first)
        given = dict(word.partition("=")[::2] for word in words)
        cores = given.get("ncpus") or given.get("ppn") or given.get("mpiprocs") or "1"
        yield max(1, number or 1), max(1, integer(cores) or 1)
