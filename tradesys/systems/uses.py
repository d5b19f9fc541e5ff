"""What requests of one's own may use of balances, as far as the view does not count it yet."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple


class Use(NamedTuple):
    """What a request of one's own may use of a balance, or a table whose last request it is."""

    request_id: int
    account: str
    asset: str
    amount: int
    is_market_buy: bool


class Uses:
    """The uses that the view does not know of: of requests not written, and of market buys.

    A market buy's terms say no price, so the view counts what it uses from its first report on.
    """

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

    def keep(self, wanted: Callable[[Use], bool]) -> None:
        """Count those that are wanted, and no others."""
        kept = [use for use in self._uses if wanted(use)]
        self._uses, self._used = [], Counter()
        for use in kept:
            self.count(use)

    def written(self, end: int) -> None:
        """Requests with ids below ``end`` are durable: the view will count what they use.

        Until it is asked they stay counted here.
        """
        self._uses = [u for u in self._uses if u.request_id >= end or u.is_market_buy]
