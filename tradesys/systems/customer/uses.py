"""What requests of one's own may use of balances, as far as the view does not count it yet."""

from collections import Counter
from typing import NamedTuple


class Use(NamedTuple):
    """What a request of one's own may use of a balance, or a table whose last request it is."""

    request_id: int
    account: str
    asset: str
    amount: int


class Uses:
    """The uses that the view does not know of: those of requests that are not written."""

    def __init__(self) -> None:
        self._uses: list[Use] = []
        self._used: Counter[tuple[str, str]] = Counter()

    def __bool__(self) -> bool:
        return bool(self._used)

    def of(self, account: str, asset: str) -> int:
        """How much of a balance they may use, in 1/10,000 or shares."""
        return self._used.get((account, asset), 0)

    def count(self, use: Use) -> None:
        """Count one more."""
        self._uses.append(use)
        self._used[use.account, use.asset] += use.amount

    def written(self, end: int) -> None:
        """Requests with ids below ``end`` are durable: the view will count what they use.

        Until it is asked they stay counted here.
        """
        self._uses = [use for use in self._uses if use.request_id >= end]

    def seen(self) -> None:
        """The view counts whatever is durable; from now on it is not counted here."""
        kept, self._uses, self._used = self._uses, [], Counter()
        for use in kept:
            self.count(use)

    def forget(self, start: int) -> None:
        """Requests with ids from ``start`` on do not come."""
        self._uses = [use for use in self._uses if use.request_id < start]
        self.seen()
