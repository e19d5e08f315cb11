"""How fast one peer may make us work: a bucket that fills with time and that reading empties."""


class Pace:
    """Allows `per_second` units on average and as many at once; a debt says how long to pause."""

    def __init__(self, per_second: int) -> None:
        assert per_second > 0
        self._per_second = per_second
        self._balance = float(per_second)
        self._at_ms = 0.0

    def spend(self, units: int, at_ms: float) -> float:
        """Spend what was read at a time in ms; return for how many ms to stop reading, 0 for none."""
        elapsed_ms = max(0.0, at_ms - self._at_ms)
        self._at_ms = at_ms
        filled = self._balance + elapsed_ms * self._per_second / 1_000
        self._balance = min(float(self._per_second), filled) - units
        return max(0.0, -self._balance * 1_000 / self._per_second)
