"""What an event moves, as the legs of a double entry.

A trade moves shares and cash of a customer against the firm's clearing account, and its fee to the
firm's account of fees. A bust moves the opposite of the trade that it refers to, a correction that
and what it says itself (:func:`tradesys.positions.due`).
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradesys.arrow import first_of_each
from tradesys.charter import Fees
from tradesys.memory import Ints
from tradesys.records import CLEARING, CURRENCY, FEES, POSTINGS, ExecType, Side
from tradesys.sessions import settle_dates
from tradesys.views import View


class Moves(NamedTuple):
    """What events move at customers: a row for each fill that comes (``times`` 1) or goes (-1).

    ``event`` is the row of the event, ``shares`` are signed, ``px`` is in 1/10,000.
    """

    event: Ints
    times: Ints
    account: pa.StringArray
    symbol: pa.StringArray
    shares: Ints
    px: Ints


def moves_of(events: pa.RecordBatch, view: View) -> Moves:
    """What trades, corrections and busts move, of those that can be posted now.

    One that refers to an event which is not held yet waits for it: what it takes back is not known.

    :param events: executions of the firm that are not posted, each event once.
    """
    kinds = events["exec_type"]
    is_fill = _mask(pc.not_equal(kinds, ExecType.TRADE_CANCEL.value))
    refers = _mask(
        pc.and_(pc.not_equal(kinds, ExecType.TRADE.value), events["exec_ref_id"].is_valid())
    )
    own = _own(events, np.flatnonzero(is_fill))
    if not refers.any():
        return own
    rows = np.flatnonzero(refers)
    about = events["exec_ref_id"].take(pa.array(rows)).to_numpy()
    traded = view.traded(about)
    own = _own(events, np.setdiff1d(np.flatnonzero(is_fill), rows[~traded.seen]))
    back = np.flatnonzero(traded.is_fill & ~traded.taken_back & first_of_each(about))
    picked = pa.array(back)
    taken_back = Moves(
        event=rows[back],
        times=np.full(len(back), -1),
        account=traded.account.take(picked),
        symbol=traded.symbol.take(picked),
        shares=-traded.shares[back],
        px=traded.px[back],
    )
    return _joined(own, taken_back)


def _own(events: pa.RecordBatch, rows: Ints) -> Moves:
    """What the fills and corrections of these rows say themselves."""
    fills = events if len(rows) == len(events) else events.take(pa.array(rows))
    buys = _mask(pc.equal(fills["side"], Side.BUY.value))
    return Moves(
        event=rows,
        times=np.ones(len(rows), np.int64),
        account=fills["account"],
        symbol=fills["symbol"],
        shares=np.where(buys, 1, -1) * fills["last_qty"].to_numpy(),
        px=fills["last_px"].to_numpy(),
    )


def _joined(one: Moves, other: Moves) -> Moves:
    """All moves, those of an event together."""
    order = np.argsort(np.concatenate([one.event, other.event]), kind="stable")
    return Moves(
        *(
            pa.concat_arrays(pair).take(pa.array(order))
            if isinstance(pair[0], pa.Array)
            else np.concatenate(pair)[order]
            for pair in zip(one, other, strict=True)
        )
    )


def legs_of(
    moves: Moves, events: pa.RecordBatch, fees: Fees, first_id: int, now: int
) -> pa.RecordBatch:
    """The postings of moves: four legs each, and two more of the fee where there are fees.

    Each two legs are opposites, so every event sums to zero in each asset. All of them settle on
    the session after the event's day (T+1).
    """
    n = len(moves.event)
    each, clearing, of_fees = np.arange(n), np.full(n, n), np.full(n, n + 1)
    cash = -moves.shares * moves.px
    fee = moves.times * fees.of(np.abs(moves.shares), np.abs(cash))
    accounts = [each, clearing, each, clearing, each, of_fees]
    assets = [each, each, clearing, clearing, clearing, clearing]
    amounts = [moves.shares, -moves.shares, cash, -cash, -fee, fee]
    width = 6 if any(fees) else 4
    event = np.repeat(moves.event, width)
    ids = np.arange(first_id, first_id + width * n, dtype=np.uint64)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(ids),
            pa.repeat(pa.scalar(now, pa.timestamp("ns", "UTC")), width * n),
            events["exec_id"].take(pa.array(event)),
            pa.concat_arrays([moves.account, pa.array([CLEARING, FEES])]).take(
                _rows(accounts[:width])
            ),
            pa.concat_arrays([moves.symbol, pa.array([CURRENCY])]).take(_rows(assets[:width])),
            _rows(amounts[:width]),
            pa.array(settle_dates(events["transact_time"])[event]),
        ],
        schema=POSTINGS,
    )


def _rows(columns: list[Ints]) -> pa.Int64Array:
    """Columns row by row."""
    return pa.array(np.stack(columns, axis=1).ravel())


def _mask(flags: pa.BooleanArray) -> NDArray[np.bool_]:
    return np.array(flags.to_numpy(zero_copy_only=False))
