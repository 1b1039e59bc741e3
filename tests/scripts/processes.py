"""Processes of a test, found by their place below it."""

from pathlib import Path


def descendants(parent: int, told: str) -> list[int]:
    """Return the processes below one whose command line has a text."""
    parents, lines = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                stat = (folder / "stat").read_text().rpartition(") ")[2].split()
                lines[int(folder.name)] = (folder / "cmdline").read_text()
            except OSError:  # it has ended
                continue
            parents[int(folder.name)] = int(stat[1])
    found = []
    for number, line in lines.items():
        above = number
        while above in parents and above != parent:
            above = parents[above]
        if above == parent and number != parent and told in line:
            found.append(number)
    return found
