"""Counts of unusable or changed parts of a recording, by reason."""

from collections import Counter


class Tally:
    """Counts by reason, each with the place of its first occurrence."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, place: str) -> None:
        """Add one to the count of a reason.

        Args:
            reason: The reason, e.g. "center image missing".
            place: The place, e.g. "line 7"; only the first place of each reason is kept.
        """
        self._counts[reason] += 1
        self._first.setdefault(reason, place)

    @property
    def counts(self) -> dict[str, int]:
        """Count of each reason."""
        return dict(self._counts)

    @property
    def total(self) -> int:
        """Sum of all counts."""
        return self._counts.total()

    def __str__(self) -> str:
        return "; ".join(
            f"{reason}: {count} (first: {self._first[reason]})"
            for reason, count in self._counts.items()
        )
