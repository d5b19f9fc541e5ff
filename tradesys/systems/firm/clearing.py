"""What is to be posted for trades, as the legs of a double entry.

A trade moves shares and cash of a customer against the firm's clearing account, and its fee to the
firm's account of fees. What is posted is what stands of it less what is booked already
(:func:`tradesys.status.positions.uncleared`): for a bust the opposite of its trade, for a
correction the difference.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tradesys.records.arrow import Ints, first_of_each, numbered
from tradesys.records.schemas import CLEARING, CURRENCY, FEES, POSTINGS
from tradesys.records.trading_calendar import settle_dates
from tradesys.status.incremental.columns import Uncleared
from tradesys.status.incremental.view import View


class Moves(NamedTuple):
    """What trades have to move at customers, a row a trade: shares, cash and fees as they change.

    ``exec_id`` is the event that stands, for which it is posted.
    """

    exec_id: pa.UInt64Array
    account: pa.StringArray
    symbol: pa.StringArray
    shares: Ints
    cash: Ints
    fee: Ints
    transact_time: pa.TimestampArray


def moves_of(events: pa.RecordBatch, found: Uncleared, view: View) -> Moves:
    """What the trades of these events have to move, each trade once.

    :param events: trades, corrections and busts, and what the ``view`` ``found`` of them.
    """
    # Of a trade of which several events are here, the one that stands comes first.
    stands = found.exec_id == events["exec_id"].to_numpy()
    rows = np.concatenate([np.flatnonzero(found.differs & is_it) for is_it in (stands, ~stands)])
    rows = rows[first_of_each(found.exec_id[rows])]
    account, symbol = view.names_of(found.order[rows])
    return Moves(
        exec_id=pa.array(found.exec_id[rows]),
        account=account,
        symbol=symbol,
        shares=found.shares[rows],
        cash=found.cash[rows] + found.fee[rows],
        fee=found.fee[rows],
        transact_time=events["transact_time"].take(pa.array(rows)),
    )


def legs_of(moves: Moves, first_id: int, now: int, *, with_fees: bool) -> pa.RecordBatch:
    """The postings of moves: four legs each, and two more of the fee where there are fees.

    Each two legs are opposites, so every event sums to zero in each asset. All of them settle on
    the session after the event's day (T+1).
    """
    n = len(moves.shares)
    each, clearing, of_fees = np.arange(n), np.full(n, n), np.full(n, n + 1)
    shares, cash, fee = moves.shares, moves.cash, moves.fee
    accounts = [each, clearing, each, clearing, each, of_fees]
    assets = [each, each, clearing, clearing, clearing, clearing]
    amounts = [shares, -shares, cash, -cash, -fee, fee]
    width = 6 if with_fees else 4
    event = np.repeat(each, width)
    owner, asset = _rows(accounts[:width]), _rows(assets[:width])
    columns = {
        "exec_id": moves.exec_id.take(pa.array(event)),
        "account": pa.concat_arrays([moves.account, pa.array([CLEARING, FEES])]).take(owner),
        "asset": pa.concat_arrays([moves.symbol, pa.array([CURRENCY])]).take(asset),
        "amount": _rows(amounts[:width]),
        "settle_date": pa.array(settle_dates(moves.transact_time)[event]),
    }
    return numbered(POSTINGS, first_id, now, columns)


def _rows(columns: list[Ints]) -> pa.Int64Array:
    """Columns row by row."""
    return pa.array(np.stack(columns, axis=1).ravel())
