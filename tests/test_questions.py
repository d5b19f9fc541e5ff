"""Goal: what is in a run is asked from the command line, and in SQL, as it is from Python.

Method: the same question by two ways, on a session that has orders in every state.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tests.build import filled, network, submit
from tradesys.cli import app
from tradesys.network import Network
from tradesys.network.scenario import session
from tradesys.records.errors import InvalidValue
from tradesys.records.formatting import with_ids_written


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions") / "run"
    with session(orders=120, data=folder).network as desk:
        desk["c1"].submit(account="alice", symbol="ALFA", side="buy", order_qty=100, price="1.00")
        desk.run()
    return folder


def told(*args: object) -> str:
    result = CliRunner().invoke(app, [*map(str, args)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def plain(frame: pl.DataFrame) -> Any:
    return json.loads(with_ids_written(frame).write_json())


@pytest.mark.parametrize(
    ("command", "ask"),
    [
        ("orders", lambda c: c.orders()),
        ("orders --account alice --symbol ALFA", lambda c: c.orders("alice", symbol="ALFA")),
        ("orders --open", lambda c: c.orders(open_only=True)),
        ("fills --account bob", lambda c: c.fills("bob")),
        ("positions --symbol ALFA", lambda c: c.positions(symbol="ALFA")),
    ],
)
def test_json_of_a_run_is_one_array_of_what_python_answers(
    run: Path, command: str, ask: Any
) -> None:
    name, *options = command.split()
    rows = json.loads(told(name, run, *options, "--at", "c2", "--json", "-"))
    with Network.open(run) as desk:
        assert rows == plain(ask(desk["c2"]))
    assert rows


def test_orders_have_the_names_of_fix_and_ids_as_text(run: Path) -> None:
    rows = json.loads(told("orders", run, "--json", "-"))
    names = "order_id cl_ord_id account symbol side ord_type price ord_status order_qty cum_qty"
    assert list(rows[0]) == [*names.split(), "leaves_qty", "avg_px"]
    assert all(row["order_id"][0] == "c" for row in rows)


def test_csv_has_the_rows_of_json(run: Path) -> None:
    rows = json.loads(told("fills", run, "--json", "-"))
    table = list(csv.DictReader(io.StringIO(told("fills", run, "--csv", "-"))))
    assert [row["exec_id"] for row in table] == [row["exec_id"] for row in rows]
    assert [int(row["last_px"]) for row in table] == [row["last_px"] for row in rows]


def test_json_and_csv_are_not_both_written_to_stdout(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="a file, where JSON goes to stdout"):
        told("orders", run, "--json", "-", "--csv", "-")
    shown = told("orders", run, "--json", tmp_path / "rows.json", "--csv", "-")
    assert shown.count("\n") == 1 + len(json.loads((tmp_path / "rows.json").read_text()))


def test_text_says_how_many_rows_are_not_shown(run: Path) -> None:
    assert "119 more rows are not shown" in told("orders", run, "--rows", "2")
    assert "not shown" not in told("orders", run, "--rows", "121")


def test_the_book_is_what_is_open_at_each_price_the_highest_first(run: Path) -> None:
    levels = json.loads(told("book", run, "--symbol", "ALFA", "--json", "-"))
    still_open = json.loads(told("orders", run, "--symbol", "ALFA", "--open", "--json", "-"))
    expected: dict[tuple[str, int], int] = {}
    for row in still_open:
        level = row["side"], row["price"]
        expected[level] = expected.get(level, 0) + row["leaves_qty"]
    found = {(row["side"], row["price"]): row["leaves_qty"] for row in levels}
    assert found == expected
    assert list(found) == sorted(found, reverse=True)
    assert levels[-1]["price"] == 1_0000


def test_a_run_is_asked_as_it_was_at_a_time(run: Path) -> None:
    then = "2024-06-03T13:30:20Z"
    rows = json.loads(told("orders", run, "--at", "firm", "--as-of", then, "--json", "-"))
    with Network.open(run) as desk:
        assert rows == plain(desk.as_of(then)["firm"].orders())
    assert 0 < len(rows) < 121


def test_only_who_answers_inquiries_is_asked_for_orders(run: Path) -> None:
    with pytest.raises(InvalidValue, match="expected one of c1, c2, c3, firm"):
        told("orders", run, "--at", "s1")


# SQL.


def test_sql_asks_the_records_and_the_answers_of_one_system(run: Path) -> None:
    query = "select account, count(*) as n from orders where ord_status = 'new' group by account"
    rows = json.loads(told("sql", run, query, "--at", "c2", "--json", "-"))
    with Network.open(run) as desk:
        statuses = desk["c2"].statuses().filter(pl.col("ord_status") == "new")
        expected = dict(statuses["account"].value_counts().iter_rows())
        assert {row["account"]: row["n"] for row in rows} == expected
        for name in ("requests", "executions", "accounts", "instruments", "postings"):
            asked = desk["c2"].sql(f"select * from {name}")
            assert asked.equals(desk["c2"].tables[name].frame)
        for name in ("orders", "fills", "positions"):
            assert desk["c2"].sql(f"select * from {name}").equals(getattr(desk["c2"], name)())


def test_sql_and_duckdb_over_arrow_give_the_same(run: Path) -> None:
    query = "select symbol, sum(last_qty) as shares from executions group by symbol order by symbol"
    with Network.open(run) as desk:
        executions = desk["c1"].read_only["executions"].arrow
        with duckdb.connect() as connection:
            connection.register("executions", executions)
            theirs = connection.execute(query).fetchall()
        assert desk["c1"].sql(query).rows() == theirs


def test_sql_joins_tables_of_one_moment() -> None:
    desk = network()
    filled(desk)
    query = (
        "select o.order_id, sum(e.last_qty) as filled from orders o "
        "join executions e on o.order_id = e.order_id group by o.order_id order by o.order_id"
    )
    assert desk["c1"].sql(query)["filled"].to_list() == [100, 100]


def test_sql_copies_no_record() -> None:
    desk = network()
    filled(desk)
    held = desk["c1"].read_only["executions"].frame["record_id"]
    asked = desk["c1"].sql("select record_id from executions")["record_id"]
    assert np.shares_memory(asked.to_numpy(), held.to_numpy())


def test_a_street_side_system_is_asked_for_the_records_that_it_holds() -> None:
    desk = network()
    submit(desk["c1"])
    desk.run()
    assert desk["s1"].sql("select exec_type from executions")["exec_type"].to_list() == ["new"]
    with pytest.raises(InvalidValue, match=r"a query from executions, accounts, .*postings$"):
        desk["s1"].sql("select * from orders")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select * from ordrs, fills", "requests, .*, positions; did you mean orders"),
        ("select qty from orders", r'unable to find column "qty"; valid columns: \["order_id"'),
        ("selec side from orders", "sql parser error"),
        ("select side + 1 from orders", "a query from"),
        ("nothing", "a query from requests, executions"),
        ("delete from orders", "a query, which changes nothing"),
        ("", "expected a query like"),
        (None, "expected a query like"),
    ],
)
def test_what_is_no_query_is_an_error_that_says_what_there_is(query: Any, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        network()["c1"].sql(query)
