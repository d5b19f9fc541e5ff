"""The balances of each pair of account and asset.

Pairs are found by a hash of the two numbers, so it takes the same however many there are. Only the
loops of :mod:`tradesys.status.incremental.loops` write amounts and last trades.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records.arrow import Ints
from tradesys.records.schemas import CURRENCY, FIRMS_OWN
from tradesys.status.incremental.columns import BALANCE, Records, with_room
from tradesys.status.incremental.compiled import compiled
from tradesys.status.incremental.text_codes import codes_of

_MIX = 0x9E3779B1  # an odd number near 2**32 divided by the golden ratio
_LOW = 0xFFFFFFFF


_Slots = NDArray[np.int32]


class Texts:
    """A number for each text, from 0, given out on first sight."""

    def __init__(self, first: Iterable[str]) -> None:
        self.known = [*first]
        self.numbers = {text: number for number, text in enumerate(self.known)}
        self._column = pa.array(self.known, pa.utf8())

    def give(self, text: str) -> int:
        """The number of a text, given out now if it has none."""
        number = self.numbers.get(text)
        if number is None:
            number = self.numbers[text] = len(self.known)
            self.known.append(text)
        return number

    def of(self, numbers: Ints) -> pa.StringArray:
        """The text of each number."""
        further = self.known[len(self._column) :]
        if further:
            self._column = pa.concat_arrays([self._column, pa.array(further, pa.utf8())])
        return self._column.take(pa.array(numbers))


class Accounts:
    """A pair for each account and asset, given out on first sight, and its balances.

    Cash is the first asset, the firm's own accounts are the first accounts.
    """

    def __init__(self) -> None:
        self.accounts, self.assets = Texts(FIRMS_OWN), Texts([CURRENCY])
        self.count = 0
        """How many pairs there are."""
        self.balances = np.zeros(64, BALANCE)
        self.last_trades, self.scales = np.zeros(64, np.int64), np.zeros(64, np.int64)
        self._slots = np.zeros(256, np.int32)

    def pairs(self, accounts: pa.StringArray, assets: pa.StringArray) -> Ints:
        """The pair of each row's account and asset, given out now if it has none."""
        owners, owned = codes_of(accounts, self.accounts.give), codes_of(assets, self.assets.give)
        most = self.count + 2 * len(owners)  # each may be new, and so may the account's cash
        self.balances = with_room(self.balances, most)
        self.last_trades = with_room(self.last_trades, len(self.assets.known))
        if 2 * most > len(self._slots):
            slots = np.zeros(4 * most, np.int32)
            enter_pairs(slots, self.balances[: self.count])
            self._slots = slots
        found = np.empty(len(owners), np.int64)
        self.count = give_pairs(self._slots, self.balances, self.count, owners, owned, found)
        return found

    def find(self, account: str, asset: str) -> int:
        """The pair of an account's asset; -1 if it has none."""
        owner, owned = self.accounts.numbers.get(account), self.assets.numbers.get(asset)
        if owner is None or owned is None:
            return -1
        return self._slots.item(find_slot(self._slots, self.balances, owner, owned)) - 1

    def names(self, pair: int) -> tuple[str, str]:
        """The account and the asset of a pair."""
        owner, owned = (self.balances[name].item(pair) for name in ("account", "asset"))
        return self.accounts.known[owner], self.assets.known[owned]

    def names_of(self, pairs: Ints) -> tuple[pa.StringArray, pa.StringArray]:
        """The account and the asset of each pair."""
        owners, owned = (self.balances[name][pairs] for name in ("account", "asset"))
        return self.accounts.of(owners), self.assets.of(owned)


@compiled
def find_slot(slots: _Slots, balances: Records, account: int, asset: int) -> int:
    """The slot with one more than the pair of an account and asset; if there is none, an empty one.

    The pair itself says whose it is.
    """
    slot = ((account * _MIX + asset) * _MIX & _LOW) % len(slots)
    while slots[slot]:
        balance = balances[slots[slot] - 1]
        if balance["account"] == account and balance["asset"] == asset:
            break
        slot = (slot + 1) % len(slots)
    return slot


@compiled
def enter_pairs(slots: _Slots, balances: Records) -> None:
    """Enter pairs into slots that are empty."""
    for pair in range(len(balances)):
        balance = balances[pair]
        slots[find_slot(slots, balances, balance["account"], balance["asset"])] = pair + 1


@compiled
def give_pairs(
    slots: _Slots, balances: Records, count: int, accounts: Ints, assets: Ints, found: Ints
) -> int:
    """Find the pair of each account and asset, or give one out; gives how many there are then."""
    for i in range(len(found)):
        cash = -1
        for asset in (0, assets[i]):
            slot = find_slot(slots, balances, accounts[i], asset)
            if not slots[slot]:
                balance = balances[count]
                balance["account"], balance["asset"] = accounts[i], asset
                balance["cash"] = count if asset == 0 else cash
                count += 1
                slots[slot] = count
            found[i] = slots[slot] - 1
            if asset == 0:
                cash = found[i]
    return count
