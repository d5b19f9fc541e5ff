"""What is of an altogether wrong type is refused by name, wherever it is handed in.

Goal: nobody who hands in nonsense is told of Python's insides, and nothing of it stays behind.
Method: every argument of everything public around a network, each with values of many types.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.build import contents, filled, network
from tradesys.network import Network
from tradesys.network.scenario import session
from tradesys.network.tape_replay import Partition, open_network, parse_partition, replay
from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.records.opening_books import OpeningBooks
from tradesys.venue import tapes

SAMPLE = Path(__file__).parent.parent / "data" / "sample"
NONSENSE: tuple[Any, ...] = (
    None,
    {},
    {"a": 1},
    True,
    [],
    ["c1", []],
    2.5,
    object(),
    b"c1",
    "",
    np.array([1, 2]),
)

Call = Callable[[Any, Any], object]


def some(value: Any) -> Any:
    """The value; something else of no use where it is nothing, which would be allowed."""
    return value if isinstance(value, np.ndarray) or value else 0


CALLS: dict[str, tuple[str, Call]] = {
    "Network, customers": ("customers", lambda _, x: Network(x)),
    "Network, streets": ("streets", lambda _, x: Network(1, x)),
    "Network, firm": ("firm", lambda _, x: Network(firm=some(x))),
    "Network, data": ("data", lambda _, x: Network(data=some(x))),
    "Network, venue": ("venue", lambda _, x: Network(venue=x)),
    "Network, clock": ("clock", lambda _, x: Network(clock=x)),
    "open, data": ("data", lambda _, x: Network.open(x)),
    "[]": ("system", lambda desk, x: desk[x]),
    "partition": ("system", lambda desk, x: desk.partition(x)),
    "partition, others": ("system", lambda desk, x: desk.partition("c1", x)),
    "heal": ("system", lambda desk, x: desk.heal(some(x))),
    "heal, others": ("system", lambda desk, x: desk.heal("c1", x)),
    "lose_disk": ("system", lambda desk, x: desk.lose_disk(x)),
    "why_differ": ("system", lambda desk, x: desk.why_differ("c1", x)),
    "as_of": ("as_of", lambda desk, x: desk.as_of(x)),
    "as_of, system": ("system", lambda desk, x: desk.as_of(0)[x]),
    "authoritative": ("dataset", lambda desk, x: desk["c1"].authoritative[x]),
    "record, dataset": ("dataset", lambda desk, x: desk.firm.record(x, [])),
    "record, rows": ("rows", lambda desk, x: desk.firm.record("accounts", some(x))),
    "record, row": ("rows", lambda desk, x: desk.firm.record("accounts", [some(x)])),
    "append, rows": ("rows", lambda desk, x: desk.firm.authoritative["accounts"].append(some(x))),
    "open_accounts": ("accounts", lambda desk, x: desk.firm.open_accounts(some(x), cash=1)),
    "open_accounts, cash": ("cash", lambda desk, x: desk.firm.open_accounts(["eve"], cash=x)),
    "open_accounts, shares": (
        "shares",
        lambda desk, x: desk.firm.open_accounts(["eve"], cash=1, shares=[x]),
    ),
    "list_instruments": ("symbols", lambda desk, x: desk.firm.list_instruments(some(x))),
    "list_instruments, tick": (
        "tick_size",
        lambda desk, x: desk.firm.list_instruments(["ZULU"], tick_size=x),
    ),
    "list_instruments, lot": (
        "lot_size",
        lambda desk, x: desk.firm.list_instruments(["ZULU"], lot_size=x),
    ),
    "OpeningBooks, accounts": ("accounts", lambda _, x: OpeningBooks(accounts=some(x))),
    "OpeningBooks, symbols": ("symbols", lambda _, x: OpeningBooks(symbols=some(x))),
    "OpeningBooks, cash": ("cash", lambda _, x: OpeningBooks(cash=x)),
    "session, orders": ("orders", lambda _, x: session(orders=x)),
    "session, seed": ("seed", lambda _, x: session(seed=x)),
    "session, books": ("books", lambda _, x: session(books=some(x))),
    "session, data": ("data", lambda _, x: session(data=some(x))),
    "open_network, tape": ("tape", lambda _, x: open_network(x)),
    "parse_partition": ("partition", lambda _, x: parse_partition(x)),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_of_an_altogether_wrong_type_is_refused_by_its_field(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, call = CALLS[name]
    monkeypatch.chdir(tmp_path)
    with network(2, data=tmp_path / "run") as desk:
        filled(desk)
        before = contents(tmp_path), desk.summary()
        for value in NONSENSE:
            with pytest.raises((InvalidValue, SchemaError)) as raised:
                call(desk, value)
            if isinstance(raised.value, InvalidValue):
                assert raised.value.field in (field, "symbol", "accounts"), f"{value!r}"
            assert "expected" in str(raised.value) or "missing" in str(raised.value)
        assert (contents(tmp_path), desk.summary()) == before
        assert not desk.behind()["cut"].any()


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("batch", {"batch": 0}),
        ("batch", {"batch": "many"}),
        ("partitions", {"partitions": "c1:0.33-0.66"}),
        ("partitions", {"partitions": [("c1", 0.3, 0.6)]}),
        ("partitions", {"partitions": [Partition("c1", 0.6, 0.3)]}),
        ("partitions", {"partitions": [Partition("c1", "a", "b")]}),  # type: ignore[arg-type]
        ("system", {"partitions": [Partition("c9", 0.3, 0.6)]}),
        ("network", {"network": None}),
        ("venue", {"network": network()}),
        ("tape", {"tape": SAMPLE}),
    ],
)
def test_a_replay_refuses_what_it_cannot_do_and_enters_no_order(
    field: str, options: dict[str, Any]
) -> None:
    tape = tapes.read(SAMPLE)
    desk = open_network(tape)
    given = {"tape": tape, "network": desk, **options}
    with pytest.raises(InvalidValue) as raised:
        replay(given.pop("tape"), given.pop("network"), **given)
    assert raised.value.field == field
    assert all(not len(c.tables["requests"]) for c in desk.customers)
