"""A tape: a day of real order flow, as the requests customers made and the fills they got.

A reader turns one format into a :class:`Tape`. No tape says whose an order was or by which system
it came in, so both are assigned here, by a declared rule that is the project's own and no fact
about the market: :func:`account` and :func:`entry_system`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tradesys.records import argument_checks as given

ACCOUNTS = 100
"""How many accounts a tape's orders are spread over, if nothing else is said."""

Source = str | Path | Sequence[str | Path]
"""A file, a folder of files, or several files that make one tape."""


class Part(NamedTuple):
    """A part of a tape: its requests and fills, as :class:`Tape` says.

    ``stop`` is the number of events up to its end.
    """

    requests: pl.DataFrame
    fills: pl.DataFrame
    stop: int


@dataclass(frozen=True, eq=False)
class Tape:
    """What a reader of real order flow gives. Both frames are sorted by ``event``.

    ``requests``, one row per request of a customer:
        ``event: UInt32`` the row of the event in the whole tape, from 0;
        ``ts: Datetime("ns", "UTC")``;
        ``request_type: String`` (``"new"``, ``"cancel"``, ``"replace"``);
        ``cl_ord_id: String``; ``orig_cl_ord_id: String``, null for a new order;
        ``account: String``; ``symbol: String``; ``side: String`` (``"buy"``, ``"sell"``);
        ``ord_type: String`` (``"limit"``); ``time_in_force: String`` (``"day"``);
        ``order_qty: Int64`` shares, for a replace the new *total* quantity of the order (FIX tag
        38), for a cancel the quantity in force; ``price: Int64`` in 1/10,000 USD.
    ``fills``, one row per execution that the market reported:
        ``event: UInt32``; ``ts: Datetime("ns", "UTC")``;
        ``cl_ord_id: String`` of the *new* request; ``last_qty: Int64`` shares;
        ``last_px: Int64`` in 1/10,000 USD.

    ``events`` counts every event of the tape, ``ignored`` those that are neither a request nor a
    fill, by reason: ``events == requests.height + fills.height + sum(ignored.values())``.
    Quantities are in units of ``qty_scale``, of which so many make one share or coin; ``tick_size``
    (in 1/10,000) is that of every symbol.
    """

    requests: pl.DataFrame
    fills: pl.DataFrame
    events: int
    ignored: dict[str, int]
    symbols: tuple[str, ...]
    qty_scale: int = 1
    tick_size: int = 100

    @property
    def accounts(self) -> list[str]:
        """The accounts that have orders."""
        return self.requests["account"].unique().sort().to_list()

    @property
    def first_ns(self) -> int:
        """When the first request came, in ns since 1970; 0 where there is none."""
        ts = self.requests["ts"].dt.timestamp("ns")
        return int(ts[0]) if len(ts) else 0

    def parts(self) -> Iterator[Part]:
        """The tape as one part, as a :class:`~tradesys.venue.tapes.stream.TapeStream` has many."""
        yield Part(self.requests, self.fills, self.events)


def account(order_id: pl.Expr, accounts: int = ACCOUNTS) -> pl.Expr:
    """The account given to a tape's order: ``A`` and a number below ``accounts``, in three digits.

    The number is the remainder of the order's id after :func:`mixed`, because exchanges number
    orders with a pattern (all odd, say) that a plain remainder would keep.

    ``order_id`` is an integer column; the result is ``String``: ``A000`` to ``A099`` by default.

    :raises InvalidValue: ``accounts`` is not positive.
    """
    given.whole("accounts", accounts, 1, of="accounts")
    return pl.lit("A") + (mixed(order_id) % accounts).cast(pl.String).str.zfill(3)


def number_of(order_id: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """An order's id as an integer for :func:`account`: text by its last twelve letters and digits.

    Those are a number of base 36; digits alone are the number that they write.
    """
    if kind.is_integer():
        return order_id
    letters = order_id.str.replace_all("[^0-9A-Za-z]", "").str.slice(-12)
    number = letters.str.to_integer(base=36, strict=False).fill_null(0)
    written = order_id.str.to_integer(strict=False)
    return pl.when(written >= 0).then(written).otherwise(number)


def entry_system(account: pl.Expr, customers: int) -> pl.Expr:
    """The customer-facing system by which an account's orders enter, as an index from 0.

    ``account`` is a column of accounts as :func:`account` names them; the result, ``UInt32``, is
    the account's number modulo ``customers``, the number of customer-facing systems.

    :raises InvalidValue: ``customers`` is not positive.
    """
    given.whole("customers", customers, 1, of="customer-facing systems")
    return account.str.slice(1).cast(pl.UInt32) % customers


def mixed(number: pl.Expr) -> pl.Expr:
    """Numbers of 64 bits whose remainders are spread evenly, whatever pattern ``number`` has.

    It is the output function of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators", 2014): different numbers stay different. The result is ``UInt64``.
    """
    bits = number.cast(pl.UInt64) + _u64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits // _u64(1 << 30))) * _u64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits // _u64(1 << 27))) * _u64(0x94D049BB133111EB)
    return bits ^ (bits // _u64(1 << 31))


def _u64(value: int) -> pl.Expr:
    """A literal of the type in which arithmetic wraps at 64 bits."""
    return pl.lit(value, pl.UInt64)
