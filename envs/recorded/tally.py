"""Counts of what a recording lists and what could not be used of it, by reason."""

from collections import Counter


class Tally:
    """Counts by reason, each with the place where it was met first."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, place: str) -> None:
        """Count one more.

        Args:
            reason: What was met, e.g. "center image missing".
            place: Where, e.g. "line 7"; only the first place of each reason is kept.
        """
        self._counts[reason] += 1
        self._first.setdefault(reason, place)

    @property
    def counts(self) -> dict[str, int]:
        """How often each reason was met."""
        return dict(self._counts)

    @property
    def total(self) -> int:
        """How often any reason was met."""
        return self._counts.total()

    def __str__(self) -> str:
        return "; ".join(
            f"{reason}: {count} (first: {self._first[reason]})"
            for reason, count in self._counts.items()
        )
