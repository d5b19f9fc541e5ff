"""Which street-side system executes the orders in a symbol: rendezvous hashing over those up.

Each symbol has a home, the system of the highest random weight; while that is down, the one of the
next highest stands in. Whoever is up, the symbols of the others stay where they are.
"""

from collections.abc import Collection, Sequence

from blake3 import blake3


class Assignment:
    """The assignment as one system sees it: it may be wrong about who is up, and no harm is done.

    :param streets: the names of all street-side systems.
    """

    def __init__(self, streets: Sequence[str]) -> None:
        self.meet(streets)
        self.up: frozenset[str] = frozenset(streets)

    def meet(self, streets: Sequence[str]) -> None:
        """Take these to be all: some symbols have another home once there are more."""
        self._ranked: dict[str, list[str]] = {}
        self._streets = tuple(streets)

    def see(self, up: Collection[str]) -> bool:
        """Take these street-side systems to be up, and the others down; whether that is news."""
        before, self.up = self.up, frozenset(up)
        return self.up != before

    def street_for(self, symbol: str) -> str:
        """The street-side system of a symbol now; its home, where none is taken to be up."""
        ranked = self._rank(symbol)
        return next((street for street in ranked if street in self.up), ranked[0])

    def home(self, symbol: str) -> str:
        """The street-side system of a symbol while all are up."""
        return self._rank(symbol)[0]

    def _rank(self, symbol: str) -> list[str]:
        ranked = self._ranked.get(symbol)
        if ranked is None:
            ranked = sorted(
                self._streets, key=lambda s: blake3(f"{s}:{symbol}".encode()).digest(), reverse=True
            )
            self._ranked[symbol] = ranked
        return ranked
