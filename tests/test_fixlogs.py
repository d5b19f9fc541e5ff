"""What brokers reported in real FIX sessions, against what follows from the records.

Goal: for every execution report and cancel reject of the logs, the status and quantities that
follow from the records up to it are those that it states, or the table below says why not.
Method: a view takes the records one by one, as the log goes on, and is asked after each report; at
the end the definition is asked too.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.build import Row, batch
from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.status import definition as status
from tradesys.status.incremental.view import View
from tradesys.venue.tapes import fix_log as fix

STATES = ("ord_status", "order_qty", "cum_qty", "leaves_qty", "avg_px")


class Difference(NamedTuple):
    """What these lines of a log state of one column, what follows from the records, and why."""

    log: str
    lines: tuple[int, ...]
    column: str
    stated: object
    derived: object
    why: str


BROKER = "ireach_uat_part1_9_orders"
MARKET = "montran_2020-07-13"
SIMULATOR = "kod_bon_2018-02-23"

REPLACED = (18, 98, 104, 107, 110, 113, 116, 119, 122)
UNSUMMED = "the log is inconsistent: after 500 at 38.94 in line 67 it states 200 at 38.95 as all"
DIFFERENCES = [
    Difference(
        *(BROKER, REPLACED, "ord_status", "replaced", "new"),
        "the dialect: FIX 4.2 has a status Replaced for an unfilled order, FIX 4.4 dropped it",
    ),
    Difference(BROKER, (78, 81, 82), "cum_qty", 200, 700, UNSUMMED),
    Difference(BROKER, (78, 81), "leaves_qty", 700, 200, UNSUMMED),
    Difference(BROKER, (78, 81, 82), "avg_px", 38.95, pytest.approx(38.942857), UNSUMMED),
    Difference(
        *(MARKET, (10, 11), "leaves_qty", 0, 100),
        "the dialect: what is pending new is stated as nothing open yet",
    ),
    Difference(
        *(MARKET, (12, 13), "avg_px", 95.0, None),
        "the log is inconsistent: an average price with nothing traded; it is the limit",
    ),
    Difference(
        *(MARKET, (14, 15), "avg_px", 0.0, 95.0),
        "the log is inconsistent: no average price with 100 traded at 95",
    ),
]
"""All that differs. In none of it are we wrong."""


def log(real_data: Path, name: str) -> fix.FixLog:
    return fix.read(real_data / "fixlogs" / f"{name}.log.gz")


def differing(name: str, read: fix.FixLog) -> Iterator[tuple[str, int, str, object, object]]:
    """Log, line, column, stated and derived, wherever they differ."""
    view = View()
    waiting = {n: iter(getattr(read, n).to_dicts()) for n in ("requests", "executions")}
    taken = dict.fromkeys(waiting, 0)
    for stated in read.stated.to_dicts():
        for dataset, rows in waiting.items():
            while taken[dataset] < stated[dataset]:
                view.apply(dataset, batch(dataset, [next(rows)]))
                taken[dataset] += 1
        state = view.order(stated["order_id"])
        for column in STATES:
            derived = getattr(state, column)
            if stated[column] is not None and stated[column] != (derived or 0):
                yield name, stated["line"], column, stated[column], derived


@pytest.mark.parametrize(("name", "reports"), [(BROKER, 98), (MARKET, 6), (SIMULATOR, 1204)])
def test_what_a_broker_stated_follows_from_the_records_or_the_table_says_why_not(
    real_data: Path, name: str, reports: int
) -> None:
    read = log(real_data, name)
    assert read.stated.height == reports
    explained = [
        (name, line, d.column, d.stated, d.derived)
        for d in DIFFERENCES
        if d.log == name
        for line in d.lines
    ]
    found = list(differing(name, read))
    assert sorted(found, key=_place) == sorted(explained, key=_place)


def _place(difference: tuple[str, int, str, object, object]) -> tuple[str, int, str]:
    return difference[:3]


@pytest.mark.parametrize("name", [BROKER, MARKET, SIMULATOR])
def test_the_definition_says_of_a_log_what_a_view_says(real_data: Path, name: str) -> None:
    read, view = log(real_data, name), View()
    for dataset in ("requests", "executions"):
        view.apply(dataset, batch(dataset, getattr(read, dataset).to_dicts()))
    columns = [column for column in status.COLUMNS if column != "cl_ord_id"]
    defined = status.statuses(read.requests, read.executions).select(columns)
    assert view.statuses().select(columns).cast(defined.schema).equals(defined)


# The reader.


def written(tmp_path: Path, messages: list[str], end: str = "\x01") -> Path:
    """A log of messages whose fields are given with ``|`` at their end."""
    path = tmp_path / "session.log"
    lines = [f"2024-06-03 INFO: {message.replace('|', end)}\n" for message in messages]
    path.write_text("started\n" + "".join(lines))
    return path


ORDER = (
    "8=FIX.4.2|35=D|49=ME|52=20240603-12:00:00|11=A|55=ALFA|54=1|38=100|40=2|44=20.5|59=1|10=000|"
)


def told(fields: str, version: str = "8=FIX.4.2") -> str:
    """An execution report on that order."""
    return f"{version}|35=8|49=YOU|52=20240603-12:00:01.25|37=X|11=A|{fields}|10=000|"


@pytest.mark.parametrize("end", ["\x01", ";"])
def test_a_message_is_read_whatever_ends_its_fields(tmp_path: Path, end: str) -> None:
    text = told("17=1|20=0|150=0|39=0|14=0|151=100|58=one; two")
    read = fix.read(written(tmp_path, [ORDER, text, "8=FIX.4.2|35=0|49=ME|10=000|"], end))
    (request,), (report,) = read.requests.to_dicts(), read.executions.to_dicts()
    names = ("cl_ord_id", "account", "symbol", "side", "ord_type", "time_in_force", "price")
    terms = [request[name] for name in names]
    assert terms == ["A", "ME", "ALFA", "buy", "limit", "gtc", 205_000]
    assert report["text"] == "one; two"
    assert [report[name] for name in names] == terms
    assert report["ts"].microsecond == 250_000
    assert read.ignored == {"0": 1}


@pytest.mark.parametrize(
    ("fields", "exec_type"),
    [
        ("20=0|150=1|39=1|32=10|31=20", "trade"),
        ("20=0|150=2|39=2|32=10|31=20", "trade"),
        ("150=F|39=1|32=10|31=20", "trade"),
        ("20=1|19=1|150=0|39=0|32=10", "trade_cancel"),
        ("150=H|19=1|39=0", "trade_cancel"),
        ("20=2|19=1|150=1|39=1|32=5|31=20", "trade_correct"),
        ("150=G|19=1|39=1|32=5|31=20", "trade_correct"),
        ("20=3|150=1|39=1", "order_status"),
        ("150=I|39=1", "order_status"),
        ("150=D|39=0", "restated"),
        ("150=3|39=3", "done_for_day"),
    ],
)
def test_both_dialects_name_an_event_as_fix_4_4_does(
    tmp_path: Path, fields: str, exec_type: str
) -> None:
    filled = told("17=1|20=0|150=1|39=1|32=20|31=20")
    read = fix.read(written(tmp_path, [ORDER, filled, told(f"17=2|{fields}")]))
    report = read.executions.to_dicts()[-1]
    assert report["exec_type"] == exec_type
    assert (report["exec_ref_id"] is None) == ("19=" not in fields)


def test_an_execution_that_is_reported_again_is_the_same_event(tmp_path: Path) -> None:
    fill = told("17=1|20=0|150=1|39=1|32=20|31=20")
    read = fix.read(written(tmp_path, [ORDER, fill, fill]))
    assert read.executions["exec_id"].n_unique() == 1
    assert status.statuses(read.requests, read.executions)["cum_qty"].to_list() == [20]


@pytest.mark.parametrize("end", ["\x01", ";"])
def test_every_message_of_a_line_is_read_and_an_unreadable_one_is_counted(
    tmp_path: Path, end: str
) -> None:
    fill = told("17=1|20=0|150=1|39=1|32=20|31=20")
    heartbeat = "8=FIX.4.2|35=0|49=ME|10=000|"
    torn = "8=FIX.4.2|35=8|49=YOU|17=2"
    read = fix.read(written(tmp_path, [ORDER + fill + heartbeat, torn], end))
    assert (read.requests.height, read.executions.height) == (1, 1)
    assert read.ignored == {"0": 1, "unreadable": 1}


def test_an_order_of_which_the_log_has_no_request_is_known_by_its_reports(tmp_path: Path) -> None:
    text = told("17=1|150=0|39=0|55=ALFA|54=2|40=1|38=100").replace("11=A|", "")
    found = fix.read(written(tmp_path, [text]))
    (row,) = status.statuses(found.requests, found.executions).to_dicts()
    assert (row["ord_status"], row["side"], row["order_qty"]) == ("new", "sell", 100)


def test_a_code_that_is_unknown_is_refused_and_its_line_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"line 2 of .*'9'"):
        fix.read(written(tmp_path, [ORDER.replace("54=1", "54=9")]))


def test_a_file_without_a_message_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "empty.log.gz"
    path.write_bytes(gzip.compress(b"nothing\n"))
    with pytest.raises(SchemaError, match="no FIX message"):
        fix.read(path)


def test_a_cancel_of_an_order_the_log_does_not_know_is_about_none(tmp_path: Path) -> None:
    cancel = "8=FIX.4.4|35=F|49=ME|52=20240603-12:00:00|11=B|41=?|55=ALFA|54=1|38=100|10=000|"
    reject = "8=FIX.4.4|35=9|49=YOU|52=20240603-12:00:01|37=NONE|11=B|41=?|39=8|10=000|"
    read = fix.read(written(tmp_path, [cancel, reject]))
    rows: list[Row] = read.stated.to_dicts()
    assert read.requests["order_id"].to_list() == [row["order_id"] for row in rows]
