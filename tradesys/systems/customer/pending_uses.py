"""What requests of one's own that are being written may use of balances.

The view of orders and balances counts a request once it is durable and the view is asked; until
then it is counted here, so that no other request uses the same money.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from tradesys.records.arrow import Ints
from tradesys.status.incremental.view import View


class Use(NamedTuple):
    """What a request may use of a balance, or a table whose last request it is."""

    request_id: int
    account: str
    asset: str
    amount: int


class PendingUses:
    """What may be used that the view does not know of."""

    def __init__(self) -> None:
        self._uses: list[Use] = []
        self._used: Counter[tuple[str, str]] = Counter()

    def of(self, account: str, asset: str) -> int:
        """How much of a balance, in 1/10,000 of the currency or shares."""
        return self._used[account, asset] if self._used else 0

    def free(self, view: View, balances: Ints) -> Ints:
        """Balances, less what open orders and pending ones may use of them.

        :param balances: pairs, sorted, each once.
        """
        left = view.free(balances)
        if self._used:
            used = np.array([view.pair(*names) for names in self._used], np.int64)
            asked = np.isin(used, balances)
            amounts = np.array([*self._used.values()], np.int64)[asked]
            left[np.searchsorted(balances, used[asked])] -= amounts
        return left

    def add(self, use: Use) -> None:
        """Count one more."""
        self._uses.append(use)
        self._used[use.account, use.asset] += use.amount

    def written(self, end: int) -> None:
        """Requests with ids below ``end`` are durable: the view counts them once it is asked.

        Until then they stay counted here.
        """
        self._uses = [use for use in self._uses if use.request_id >= end]

    def seen(self) -> None:
        """The view has been asked: what is durable is no longer counted here."""
        kept, self._uses, self._used = self._uses, [], Counter()
        for use in kept:
            self.add(use)

    def forget(self, start: int) -> None:
        """Requests with ids from ``start`` on do not come."""
        self._uses = [use for use in self._uses if use.request_id < start]
        self.seen()
