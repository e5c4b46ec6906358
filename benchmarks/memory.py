"""Memory and processor time of processes that were started, as Linux tells them."""

import os
from collections.abc import Iterator
from pathlib import Path


def children_of(parent: int) -> Iterator[int]:
    """Yields the ids of all processes below one."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            yield int(path.parent.name)
            yield from children_of(int(path.parent.name))


def resident_mib(number: int) -> float:
    """Returns the memory of a process that no other one has (proportional set size), in MiB; 0 of one that ended."""
    try:
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def processor_seconds(number: int) -> float:
    """Returns the processor time that a process has taken so far, without its children; 0 of one that ended."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
