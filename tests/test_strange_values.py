"""Values of numpy, pandas, polars and Arrow, and objects that misbehave, at every public argument.

Goal: what is plainly a number, a text or a time is taken; all else is refused with an outcome, and
nothing foreign is raised from inside.
Method: every argument with every value; then the network goes on, and its audit is true.
"""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from tests.build import NOON, PRICE, TERMS, filled, network, submit
from tradesys.network import Network
from tradesys.records.clock import to_ns
from tradesys.records.errors import InvalidValue, Outcome, TradesysError
from tradesys.records.opening_books import OpeningBooks

pd: Any = pytest.importorskip("pandas")


class Strange:
    """Raises at whatever it is asked."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError

    __eq__ = __hash__ = __bool__ = __index__ = __repr__ = __len__ = __iter__ = _refuse
    __contains__ = _refuse


class StrangeText(str):
    """Text that cannot be compared."""

    __slots__ = ()

    def __eq__(self, _: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError


LATE, EARLY = (dt.timezone(dt.timedelta(hours=hours)) for hours in (-23, 23))
VALUES: tuple[Any, ...] = (
    *(None, True, np.True_, 0, -1, 2**63, -(2**63), 2**64, 10**30, 1.5, float("nan"), 1 + 2j),
    *(np.int64(5), np.int8(-1), np.uint64(2**64 - 1), np.float64(100), np.array(5), np.array([1])),
    *(np.str_("alice"), np.str_("ALFA"), np.array("a"), np.array([]), np.array(["alice", "bob"])),
    *(np.datetime64("2024-06-04"), np.datetime64("NaT"), np.timedelta64(5, "s"), range(3)),
    *(pd.NA, pd.NaT, pd.Timestamp("2024-06-04T12:00Z"), pd.Timestamp("2024-06-04")),
    *(pd.Timedelta(5), pd.Series([1, 2]), pd.DataFrame({"a": [1]})),
    *(pl.Series([1, 2]), pl.Series(["alice"]), pl.DataFrame({"a": [1]}), pl.lit(1), pl.col("a")),
    *(pa.scalar(5), pa.scalar("alice"), pa.array([1]), Decimal(5), Decimal("sNaN"), Fraction(1, 3)),
    *(Strange(), [Strange()], {"c1": Strange()}, StrangeText("alice"), StrangeText("x")),
    *("", "x", "\0", "a\0b", "\ud800", "9" * 5_000, "c1-" + "9" * 5_000, f"c{'1' * 5_000}-1"),
    *(
        "1e999999999999999999",
        "2024-06-03",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
    ),
    *(dt.datetime.max.replace(tzinfo=LATE), dt.datetime.min.replace(tzinfo=EARLY), dt.time(5)),
    *(b"alice", [], {}, set(), (), object(), str, print, iter([1]), dt.date(2024, 6, 3)),
)

ORDER = "c1-2"  # an open one
LEG = {"account": "alice", "asset": "USD", "amount": 0, "settle_date": dt.date(2024, 6, 3)}
ROWS: dict[str, dict[str, Any]] = {
    "accounts": {"account": "carol", "name": "Carol", "account_status": "active"},
    "instruments": {
        "symbol": "ZULU",
        "name": "Zulu",
        "tick_size": 1,
        "lot_size": 1,
        "qty_scale": 1,
        "security_status": "active",
    },
    "postings": LEG | {"exec_id": None},
}
CELLS = (*TERMS, "ord_type", "time_in_force", "expire_time", "cl_ord_id", "ts", "order_id")
CELLS += ("orig_cl_ord_id", "request_type")
TAKES = (*TERMS, "ord_type", "time_in_force", "expire_time", "cl_ord_id")
CHANGES = ("order_qty", "price", "time_in_force", "expire_time", "account", "cl_ord_id")
BOOKS = (
    *("accounts", "symbols", "cash", "shares", "tick_size", "lot_size", "qty_scale"),
    *("fee_per_share", "fee_per_notional"),
)

COLUMNS = [f"{dataset}.{column}" for dataset, row in ROWS.items() for column in row]
COLUMNS.remove("postings.amount")  # a leg alone is taken, and the audit tells of it
MAKES = ("customers", "streets", "firm", "venue", "clock")

Call = Callable[[Network, Any], object]


def enter(name: str, desk: Network, value: Any) -> None:
    """An order with this value in one field."""
    gtd = {"time_in_force": "gtd"} if name == "expire_time" else {}
    desk["c1"].submit(**TERMS | gtd | {name: value})


def enter_cell(name: str, desk: Network, value: Any, dtype: Any = None) -> None:
    """A table with this value in one cell, where polars makes one of it."""
    try:
        table = pl.DataFrame([TERMS]).with_columns(pl.Series(name, [value], dtype, strict=False))
    except BaseException:  # noqa: BLE001 - what polars itself panics about is no PolarsError
        return
    desk["c1"].submit_many(table)


def change(name: str, desk: Network, value: Any) -> None:
    """A replace with this value in one field."""
    desk["c1"].replace(ORDER, **{name: value})


def describe(name: str, desk: Network, value: Any) -> None:
    """A record of the firm with this value in one column."""
    dataset, column = name.split(".")
    desk.firm.record(dataset, [ROWS[dataset] | {column: value}])


def open_books(name: str, _: Network, value: Any) -> None:
    """Opening books with this value in one field."""
    OpeningBooks(**{name: value})


def make(name: str, _: Network, value: Any) -> None:
    """A network with this value as one argument."""
    Network(**{name: value})


CALLS: dict[str, Call] = {
    **{f"submit, {name}": partial(enter, name) for name in TAKES},
    **{f"replace, {name}": partial(change, name) for name in CHANGES},
    **{f"submit_many, {name}": partial(enter_cell, name) for name in CELLS},
    **{f"submit_many, object {n}": partial(enter_cell, n, dtype=pl.Object) for n in CELLS},
    **{f"record, {name}": partial(describe, name) for name in COLUMNS},
    **{f"OpeningBooks, {name}": partial(open_books, name) for name in BOOKS},
    **{f"Network, {name}": partial(make, name) for name in MAKES},
    "submit_many": lambda desk, x: desk["c1"].submit_many(x),
    "cancel, account": lambda desk, x: desk["c1"].cancel(ORDER, account=x),
    "cancel, cl_ord_id": lambda desk, x: desk["c1"].cancel(ORDER, cl_ord_id=x),
    "cancel": lambda desk, x: desk["c1"].cancel(x),
    "replace": lambda desk, x: desk["c1"].replace(x, order_qty=50),
    "status": lambda desk, x: desk["c1"].status(x),
    "at_least": lambda desk, x: desk["c1"].status(ORDER, at_least=x),
    "at_least of c1": lambda desk, x: desk["c1"].status(ORDER, at_least={"c1": x}),
    "status, network": lambda desk, x: desk.status(x, at="c1"),
    "at": lambda desk, x: desk.status(ORDER, at=x),
    "steps": lambda desk, x: desk.status(ORDER, at="c1", steps=x),
    "explain": lambda desk, x: desk.explain(x),
    "outstanding": lambda desk, x: desk["c1"].outstanding(x),
    "changed": lambda desk, x: desk["c1"].changed(x),
    "orders": lambda desk, x: desk["c1"].orders(x),
    "orders, symbol": lambda desk, x: desk["c1"].orders(symbol=x),
    "orders, open_only": lambda desk, x: desk["c1"].orders(open_only=x),
    "fills": lambda desk, x: desk["c1"].fills(x),
    "book": lambda desk, x: desk["c1"].book(x),
    "book, two": lambda desk, x: desk["c1"].book([x, "time"]),
    "book, every": lambda desk, x: desk["c1"].book("time", every=x),
    "positions": lambda desk, x: desk["c1"].positions(x),
    "cash": lambda desk, x: desk["c1"].cash(x),
    "evidence": lambda desk, x: desk.evidence(x),
    "why_differ": lambda desk, x: desk.why_differ("c1", x),
    "as_of": lambda desk, x: desk.as_of(x),
    "as_of, system": lambda desk, x: desk.as_of(NOON)[x],
    "[]": lambda desk, x: desk[x],
    "stage": lambda desk, x: desk.stage(x),
    "statement": lambda desk, x: desk.firm.statement(x),
    "statement, day": lambda desk, x: desk.firm.statement("alice", x),
    "settlement": lambda desk, x: desk.firm.settlement(x),
    "open_accounts": lambda desk, x: desk.firm.open_accounts(x, cash=0),
    "open_accounts, one": lambda desk, x: desk.firm.open_accounts([x], cash=0),
    "open_accounts, cash": lambda desk, x: desk.firm.open_accounts(["zed"], cash=x),
    "open_accounts, shares": lambda desk, x: desk.firm.open_accounts(["zed"], cash=0, shares=x),
    "list_instruments": lambda desk, x: desk.firm.list_instruments(x),
    "list_instruments, one": lambda desk, x: desk.firm.list_instruments([x]),
    "record": lambda desk, x: desk.firm.record(x, []),
    "record, rows": lambda desk, x: desk.firm.record("accounts", x),
    "record, row": lambda desk, x: desk.firm.record("accounts", [x]),
    "authoritative": lambda desk, x: desk.firm.authoritative[x],
    "data": lambda _, x: Network.open(x),
    "partition": lambda desk, x: desk.partition(x),
    "crash": lambda desk, x: desk.crash(x),
    "lose_disk": lambda desk, x: desk.lose_disk(x),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_strange_value_is_taken_for_what_it_is_or_refused_with_an_outcome(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    desk = network()
    filled(desk)
    assert str(submit(desk["c1"])) == ORDER
    desk.run()
    for value in VALUES:
        error = refusal(lambda x: CALLS[name](desk, x), value)
        assert error is None or (str(error) and error.outcome is Outcome.DID_NOT_HAPPEN)
    desk.run()
    assert desk.audit().verdict, f"{desk.audit()}"


def refusal(call: Callable[[Any], object], value: object) -> TradesysError | None:
    """The error with which a value is refused; None if it is taken."""
    try:
        call(value)
    except TradesysError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("name", "value", "recorded"),
    [
        ("order_qty", np.int64(50), 50),
        ("order_qty", np.array(50), 50),
        ("order_qty", np.uint8(50), 50),
        ("price", np.int64(PRICE), PRICE),
        ("price", np.str_("20.00"), PRICE),
        ("account", np.str_("alice"), "alice"),
        ("account", StrangeText("alice"), "alice"),
        ("cl_ord_id", np.str_("A"), "A"),
    ],
    ids=str,
)
def test_what_is_plainly_a_number_or_a_text_is_taken(
    name: str, value: Any, recorded: object
) -> None:
    system = network()["c1"]
    submit(system, **{name: value})
    assert system.tables["requests"].frame[name].to_list() == [recorded]


def test_a_time_of_pandas_is_taken_to_the_nanosecond() -> None:
    assert to_ns(pd.Timestamp(NOON + 1, tz="UTC")) == NOON + 1
    with pytest.raises(InvalidValue):
        to_ns(pd.Timestamp(NOON))


def test_books_may_be_given_as_arrays() -> None:
    books = OpeningBooks(np.array(["alice", "bob"]), pd.Series(["ALFA"]), cash=np.int64(7))  # type: ignore[arg-type]
    assert (books.accounts, books.symbols, books.cash) == (("alice", "bob"), ("ALFA",), 7)
    assert {type(name) for name in books.accounts} == {str}
