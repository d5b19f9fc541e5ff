"""What brokers reported in FIX sessions, against what follows from the records; and out again.

Goal: for every execution report and cancel reject of a log, the status and quantities that follow
from the records up to it are those that it states, or the table below says why not; a log replays
through a network; and what a network writes as FIX says the same when it is read again.
Method: a view takes the records one by one, as the log goes on, and is asked after each report; at
the end the definition is asked too. Messages are real ones, those of the specification's worked
order lives, and lines of one order written by hand.
"""

import gzip
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import simplefix
from typer.testing import CliRunner, Result

from tests.build import Row, batch, filled, frame, network, submit
from tests.test_fix_matrices import ODDITIES, REQUESTS, cases
from tradesys.cli import app
from tradesys.network import Network, fix_replay
from tradesys.network.fix_export import messages
from tradesys.network.scenario import session
from tradesys.network.tape_replay import Partition, Replayed
from tradesys.records.errors import GapError, InvalidValue, SchemaError
from tradesys.records.schemas import format_id
from tradesys.status import definition as status
from tradesys.status.incremental.view import View
from tradesys.venue.tapes import fix_codes as codes
from tradesys.venue.tapes import fix_log as fix
from tradesys.venue.tapes import inspect

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


def asked(kind: str, name: str, of: str = "A", fields: str = "") -> str:
    """A cancel (F) or a replace (G) of an order."""
    return (
        f"8=FIX.4.2|35={kind}|49=ME|52=20240603-12:00:02|11={name}|41={of}|55=ALFA|54=1|"
        f"{fields}10=000|"
    )


@pytest.mark.parametrize("end", ["\x01", ";", "|", "^A", "<SOH>", " | "])
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
    assert read.ignored == {"0": 1}
    assert [bad.line for bad in read.bad] == [3]


@pytest.mark.parametrize("end", ["\x01", "|", " | "])
@pytest.mark.parametrize("value", ["58=by gateway 8=FIX.4.2", "58=8=FIX.4.4", "1=8=FIX.4.4"])
def test_a_message_begins_where_the_one_before_has_ended_whatever_its_fields_hold(
    tmp_path: Path, end: str, value: str
) -> None:
    fill = told(f"17=1|{value}|150=F|39=2|32=100|31=20")
    read = fix.read(written(tmp_path, [ORDER + fill + ACK], end))
    assert (read.bad, read.executions["exec_type"].to_list()) == ((), ["trade", "new"])
    torn = fix.read(written(tmp_path, [ORDER, fill.replace("10=000|", "") + ACK], end))
    assert ([bad.line for bad in torn.bad], torn.executions.height) == ([3], 1)


def test_an_order_of_which_the_log_has_no_request_is_known_by_its_reports(tmp_path: Path) -> None:
    text = told("17=1|150=0|39=0|55=ALFA|54=2|40=1|38=100").replace("11=A|", "")
    found = fix.read(written(tmp_path, [text]))
    assert (found.unheard, found.requests["cl_ord_id"].to_list()) == (1, [None])
    (row,) = status.statuses(found.requests, found.executions).to_dicts()
    assert (row["ord_status"], row["side"], row["order_qty"]) == ("new", "sell", 100)


@pytest.mark.parametrize(
    ("fields", "name", "taken"),
    [
        ("40=P", "ord_type", "limit"),
        ("40=3", "ord_type", "limit"),
        ("54=5", "side", "sell"),
        ("54=3", "side", "buy"),
        ("59=7", "time_in_force", "day"),
    ],
)
def test_a_term_that_is_unknown_is_carried_as_the_nearest_and_counted(
    tmp_path: Path, fields: str, name: str, taken: str
) -> None:
    tag = fields[:3]
    old = next(field for field in ORDER.split("|") if field.startswith(tag))
    read = fix.read(written(tmp_path, [ORDER.replace(old, fields), told("17=1|150=L|39=0")]))
    assert read.requests[name].to_list() == [taken]
    assert read.terms == {fields: 1, "150=L": 1}
    assert read.executions["exec_type"].to_list() == ["order_status"]
    assert not read.bad


BAD = {
    ORDER.replace("11=A|", ""): "11=None",
    ORDER.replace("38=100", "38=1e9"): "38='1e9'",
    ORDER.replace("38=100", "38=" + "9" * 10_000): "38=",
    ORDER.replace("44=20.5", "44=20.00001"): "44='20.00001'",
    ORDER.replace("52=20240603-12", "52=20240603-25"): "52=",
    ORDER.replace("55=ALFA", "55=USD"): "55='USD'",
    ORDER.replace("35=D|", ""): "message=",
}


@pytest.mark.parametrize("line", BAD, ids=list(BAD.values()))
def test_a_bad_line_is_told_with_its_reason_and_passed_over_or_an_error(
    tmp_path: Path, line: str
) -> None:
    path = written(tmp_path, [line, ORDER])
    read = fix.read(path)
    assert read.requests.height == 1
    (bad,) = read.bad
    assert (bad.file, bad.line) == (str(path), 2)
    assert bad.reason.startswith(BAD[line])
    with pytest.raises(InvalidValue, match=r"expected.* \(line 2 of "):
        fix.read(path, bad_lines="fail")


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


def state(read: fix.FixLog) -> list[tuple[object, ...]]:
    """What each order of a log came to."""
    found = status.statuses(read.requests, read.executions)
    return found.select(*STATES[:4]).rows()


ACK = told("17=0|20=0|150=0|39=0")


def test_an_order_is_the_chain_of_its_names_and_of_the_brokers_order_id(tmp_path: Path) -> None:
    lines = [
        *(ORDER, ACK, asked("G", "B", fields="38=150|44=21|"), told("17=1|150=5|39=0|38=150|41=A")),
        told("17=2|150=F|39=1|32=10|31=20|38=150").replace("11=A", "11=B"),
        told("17=3|150=F|39=1|32=20|31=20|38=150").replace("11=A|", ""),  # by 37 alone
        told("17=4|150=F|39=1|32=30|31=20|38=150").replace("11=A", "11=?|41=B").replace("=X", "=Y"),
        told("17=5|150=4|39=4|14=60|151=0|38=150").replace("11=A", "11=broker").replace("=X", "=Y"),
    ]
    lines[3] = lines[3].replace("11=A", "11=B")
    read = fix.read(written(tmp_path, lines))
    assert state(read) == [("canceled", 150, 60, 0)]
    assert read.unheard == 0


@pytest.mark.parametrize("flag", ["43=Y", "97=Y"])
def test_a_message_that_is_sent_again_is_a_repeat(tmp_path: Path, flag: str) -> None:
    fill = told("17=1|20=0|150=1|39=1|32=20|31=20|60=20240603-12:00:01")
    lines = [ORDER, ACK, fill]
    again = [
        line.replace("|52=20240603-12", f"|34=99|{flag}|52=20240603-13").replace("11=A", "11=A")
        for line in (ORDER, fill)
    ]
    read = fix.read(written(tmp_path, [*lines, *again]))
    assert (read.requests.height, read.executions.height, read.repeats) == (1, 2, 2)
    alone = fix.read(written(tmp_path, [again[0]]))
    assert (alone.requests.height, alone.repeats) == (1, 0)  # the first is not in the log


@pytest.mark.parametrize("flag", ["43=Y", "97=Y"])
def test_a_report_that_says_it_is_sent_again_is_the_same_whatever_times_it_states(
    tmp_path: Path, flag: str
) -> None:
    fill = told("17=1|150=F|39=1|32=40|31=20|14=40|151=60|34=7|60=20240603-12:00:01")
    again = fill.replace("34=7|60=20240603-12", f"34=9|{flag}|60=20240603-13")
    another = again.replace("14=40|151=60", "14=80|151=20").replace("17=1", "17=2")
    read = fix.read(written(tmp_path, [ORDER, ACK, fill, again, another]))
    assert (state(read), read.repeats) == ([("partially_filled", 100, 80, 20)], 1)


def test_the_same_name_on_another_day_is_another_order(tmp_path: Path) -> None:
    first = [ORDER, ACK, told("17=1|150=F|39=2|32=100|31=20")]
    next_day = [line.replace("20240603", "20240604") for line in first]
    read = fix.read(written(tmp_path, [*first, *next_day[:2]]))
    assert state(read) == [("filled", 100, 100, 0), ("new", 100, 0, 100)]


def test_a_name_that_is_used_again_on_a_day_stays_the_first_ones(tmp_path: Path) -> None:
    twice = ORDER.replace("10=000", "34=7|10=000")
    refused = told("17=2|150=8|39=8").replace("37=X", "37=NONE")
    fill = told("17=3|150=F|39=2|32=100|31=20")
    read = fix.read(written(tmp_path, [ORDER, ACK, twice, refused, fill]))
    assert state(read) == [("filled", 100, 100, 0), ("rejected", 100, 0, 0)]


def test_the_sessions_of_a_log_have_names_of_their_own(tmp_path: Path) -> None:
    lines = [ORDER, ACK, told("17=1|150=F|39=2|32=100|31=20")]
    mine = [
        line.replace("49=ME", "49=ME|56=YOU").replace("49=YOU", "49=YOU|56=ME") for line in lines
    ]
    theirs = [line.replace("ME", "THEM") for line in mine[:2]]
    read = fix.read(written(tmp_path, [mine[0], theirs[0], mine[1], theirs[1], mine[2]]))
    assert state(read) == [("filled", 100, 100, 0), ("new", 100, 0, 100)]
    assert read.requests["account"].to_list() == ["ME", "THEM"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("150=F|39=4|32=30|31=20", ["trade", "canceled"]),
        ("150=F|39=C|32=30|31=20", ["trade", "expired"]),
        ("150=4|39=4|32=30|31=20|14=30", ["trade", "canceled"]),
        ("150=4|39=4|32=30|31=20|14=0", ["canceled"]),
        ("150=1|39=7|32=30|31=20|14=0", ["stopped"]),
        ("150=F|39=1|32=0", ["order_status"]),
        ("150=H|39=0|19=?", ["order_status"]),
    ],
)
def test_a_report_comes_to_the_events_that_it_tells(
    tmp_path: Path, fields: str, expected: list[str]
) -> None:
    read = fix.read(written(tmp_path, [ORDER, ACK, told(f"17=1|{fields}")]))
    assert read.executions["exec_type"].to_list()[1:] == expected
    assert read.executions["exec_id"].n_unique() == 1 + len(expected)


def test_up_to_fix_4_0_the_status_alone_says_what_happened(tmp_path: Path) -> None:
    lines = [ORDER, *(told(f"17={n}|20=0|39={f}") for n, f in enumerate(("0", "1|32=40|31=20")))]
    lines += [asked("G", "B", fields="38=60|"), told("17=8|20=0|39=6").replace("11=A", "11=B")]
    read = fix.read(written(tmp_path, [line.replace("FIX.4.2", "FIX.4.0") for line in lines]))
    assert read.executions["exec_type"].to_list() == ["new", "trade", "pending_replace"]
    assert state(read) == [("pending_replace", 100, 40, 60)]
    assert read.stated["ord_status"].to_list() == ["new", "partially_filled", "pending_replace"]


@pytest.mark.parametrize(("code", "kind"), [("F", "cancel"), ("G", "replace")])
@pytest.mark.parametrize("refusal", ["35=9", "35=8|150=8"])
def test_a_refused_change_leaves_its_order_as_it_was(
    tmp_path: Path, code: str, kind: str, refusal: str
) -> None:
    change = asked(code, "B", fields="38=150|")
    told_so = told("39=0|41=A").replace("35=8", refusal).replace("11=A", "11=B")
    read = fix.read(written(tmp_path, [ORDER, ACK, change, told_so]))
    assert read.requests["request_type"].to_list() == ["new", kind]
    assert state(read) == [("new", 100, 0, 100)]


@pytest.mark.parametrize(
    ("code", "fields", "due"),
    [
        ("F", "150=4|39=4", ("canceled", 100, 0, 0)),
        ("G", "150=5|39=0|38=150", ("new", 150, 0, 150)),
    ],
)
def test_a_change_is_settled_by_a_report_that_bears_the_name_of_its_order(
    tmp_path: Path, code: str, fields: str, due: tuple[object, ...]
) -> None:
    lines = [ORDER, ACK, asked(code, "B", fields="38=150|"), told(f"17=2|{fields}")]
    assert state(fix.read(written(tmp_path, lines))) == [due]


def test_a_change_that_the_log_does_not_ask_for_is_taken_as_asked_when_it_is_told(
    tmp_path: Path,
) -> None:
    lines = [ACK.replace("11=A", "11=A|55=ALFA|54=2|38=100|44=20")]
    lines += [told("17=2|150=6|39=6|41=A").replace("11=A", "11=B")]
    lines += [told("39=0|41=A").replace("35=8", "35=9").replace("11=A", "11=B")]
    read = fix.read(written(tmp_path, lines))
    assert read.requests["request_type"].to_list() == ["new", "cancel"]
    assert (state(read), read.unheard) == ([("new", 100, 0, 100)], 2)


def test_quantities_are_whole_numbers_of_the_finest_unit_of_the_log(tmp_path: Path) -> None:
    lines = [ORDER.replace("38=100", "38=1.50"), told("17=1|150=F|39=1|32=0.00000001|31=20|14=1")]
    read = fix.read(written(tmp_path, lines))
    assert read.qty_scale == 10**8
    assert read.requests["order_qty"].to_list() == [150_000_000]
    assert read.executions["last_qty"].to_list() == [1]
    assert read.stated["cum_qty"].to_list() == [10**8]


@pytest.mark.parametrize(
    ("fields", "kind", "expires"),
    [
        ("59=6|432=20240605", "gtd", "2024-06-06 00:00:00"),
        ("59=6|126=20240605-10:00:00", "gtd", "2024-06-05 10:00:00"),
        ("59=6", "gtc", None),
        ("59=0|126=20240605-10:00:00", "day", None),
    ],
)
def test_an_order_is_good_till_its_date_or_time(
    tmp_path: Path, fields: str, kind: str, expires: str | None
) -> None:
    read = fix.read(written(tmp_path, [ORDER.replace("59=1", fields)]))
    (row,) = read.requests.to_dicts()
    found = row["expire_time"]
    assert (row["time_in_force"], found and f"{found:%Y-%m-%d %H:%M:%S}") == (kind, expires)


def test_a_log_is_known_by_its_content_however_it_is_packed(tmp_path: Path) -> None:
    path = written(tmp_path, [ORDER])
    text = b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")
    packed = tmp_path / "log"
    packed.write_bytes(gzip.compress(text))
    (tmp_path / "other").write_text("1,2,8=FIX,3")
    known = [fix.is_log(p) for p in (path, packed, tmp_path, tmp_path / "other", tmp_path / "no")]
    assert known == [True, True, True, False, False]
    assert fix.read(packed).requests.height == 1
    assert fix.read(tmp_path).events == 2  # a folder of logs, and what is none
    packed.write_bytes(gzip.compress(text)[:-9])
    with pytest.raises(SchemaError, match="cannot be read"):
        fix.read(packed)


def test_a_message_without_a_checksum_is_whole_if_it_is_as_long_as_it_says(tmp_path: Path) -> None:
    body = ORDER.replace("10=000|", "").removeprefix("8=FIX.4.2|")
    whole = f"8=FIX.4.2|9={len(body)}|{body}"
    read = fix.read(written(tmp_path, [whole, whole[:-4]]))
    assert (read.requests.height, [bad.line for bad in read.bad]) == (1, [3])


# The specification's worked order lives, as messages.

_CODES = {text: code for code, text in codes.EXEC_TYPES.items() if code not in "12F"}
_CODES |= {"partial_fill": "1", "fill": "2", "trade": "F", "correct": "G", "cancel": "H"}
_CODES |= {"replace": "5", "status": "I", "partially_filled": "1", "filled": "2"}
_TRANS = {"Cancel": "1", "Correct": "2", "Status": "3"}
_TAGS = {"ClOrdID": 11, "OrigClOrdID": 41, "ExecID": 17, "ExecRefID": 19, "OrderQty": 38}
_TAGS |= {"CumQty": 14, "LeavesQty": 151, "LastQty": 32, "AvgPx": 6, "LastPx": 31}
_TIMES = {text: code for code, text in codes.TIMES_IN_FORCE.items()}


def printed(number: int, row: Row) -> str:
    """A row of a matrix as a message."""
    types = {"NewOrderSingle": "D", "OrderCancelRequest": "F", "OrderCancelReplaceRequest": "G"}
    sends = row["direction"] == "sent"
    kind = types.get(row["message"], "9" if row["message"] == "OrderCancelReject" else "8")
    fields = [f"35={kind}", "49=B|56=C" if sends else "49=C|56=B", f"34={number}"]
    fields += [f"52=20240603-12:00:{number:02}", "37=O" if sends else "", "55=ALFA|54=1|44=20"]
    fields += [f"{tag}={row[name]}" for name, tag in _TAGS.items() if row[name]]
    in_force = "gtc" if row["title"].startswith("GT") else row["TimeInForce"].lower()
    fields += [f"59={_TIMES[in_force]}"] if in_force else []
    fields += ["97=Y"] if row["PossResend"] == "Y" else []
    named = {150: row["ExecType"], 39: row["OrdStatus"]} if sends else {}
    fields += [f"{tag}={_CODES[t.lower().replace(' ', '_')]}" for tag, t in named.items() if t]
    fields += [f"20={_TRANS[row['ExecTransType']]}"] if row["ExecTransType"] in _TRANS else []
    fields += ["31=20"] if sends and not row["LastPx"] and row["LastQty"] else []
    return "|".join(["8=FIX.4.2", *filter(None, fields), "10=000", ""])


def test_the_worked_order_lives_of_the_specification_are_read_from_messages(
    real_data: Path, tmp_path: Path
) -> None:
    found = dict[str, tuple[object, object]]()
    for case, rows in cases(real_data).items():
        said = [
            printed(number, row)
            for number, row in enumerate(rows)
            if row["direction"] == "sent" or row["message"] in REQUESTS
        ]
        read = fix.read(written(tmp_path, said), bad_lines="fail")
        for _, _, column, stated, derived in differing(case, read):
            assert column == "leaves_qty"
            found[case] = stated, derived
        assert replayed(read)[1].verdict is True, case
    assert found == {case: value for (case, _, _), value in ODDITIES.items()}


# The log into a network.


def replayed(read: fix.FixLog, **options: object) -> tuple[Network, Replayed]:
    """A log, run through a network that is made for it."""
    desk = fix_replay.open_network(read, customers=3, streets=2)
    return desk, fix_replay.replay(read, desk, **options)  # type: ignore[arg-type]


def assert_told(read: fix.FixLog, desk: Network) -> None:
    """Each system answers as the records of the log say, and the market reported just these."""
    names = ["order_qty", "ord_status", "cum_qty", "leaves_qty", "avg_px", "account", "symbol"]
    due = status.statuses(read.requests, read.executions).select(names).sort(names)
    for customer in desk.customers:
        assert customer.statuses().select(names).cast(due.schema).sort(names).equals(due)
    told = ["exec_type", "cl_ord_id", "last_qty", "last_px", "order_qty"]
    assert sorted(desk.venue.reports.table().select(told).to_pylist(), key=repr) == sorted(
        read.executions.select(told).to_dicts(), key=repr
    )


@pytest.mark.parametrize("batch_size", [1, 7, 2000])
@pytest.mark.parametrize("name", [BROKER, MARKET])
def test_a_log_replays_and_its_broker_is_the_market(
    real_data: Path, name: str, batch_size: int
) -> None:
    read = log(real_data, name)
    desk, result = replayed(read, batch=batch_size)
    assert result.verdict is True
    assert result.not_filled == 0
    assert_told(read, desk)
    told = desk.venue.reports.table()["cl_ord_id"].to_pylist()
    assert told == read.executions["cl_ord_id"].to_list()


def test_a_log_of_many_orders_replays_while_a_system_is_cut_off(real_data: Path) -> None:
    read = log(real_data, SIMULATOR)
    desk, result = replayed(read, batch=100, partitions=[Partition("c1", 0.2, 0.7)])
    assert result.verdict is True
    assert_told(read, desk)


def test_a_log_in_a_folder_is_opened_again_and_refuses_what_it_does_not_report(
    real_data: Path, tmp_path: Path
) -> None:
    read = log(real_data, MARKET)
    with fix_replay.open_network(read, data=tmp_path / "run") as desk:
        assert fix_replay.replay(read, desk).verdict is True
    with Network.open(tmp_path / "run") as desk:
        (symbol, account), *_ = read.requests["symbol", "account"].rows()
        order = desk["c2"].submit(
            account=account, symbol=symbol, side="buy", order_qty=1, price="1"
        )
        desk.run()
        assert desk["c1"].status(order).ord_status == "rejected"
        assert desk.audit()


def test_a_request_of_which_the_log_tells_nothing_is_left_out_and_counted(tmp_path: Path) -> None:
    read = fix.read(written(tmp_path, [ORDER, ACK, asked("F", "B"), ORDER.replace("11=A", "11=C")]))
    _, result = replayed(read)
    assert result.verdict is True
    assert result.tape.ignored == {"not reported of": 2}
    assert result.statuses == {"new": 1}


def test_an_order_that_is_first_told_to_trade_and_one_that_pends_are_answered(
    tmp_path: Path,
) -> None:
    pending = told("17=2|150=A|39=A").replace("11=A", "11=B").replace("37=X", "37=Y")
    lines = [ORDER, told("17=1|150=F|39=2|32=100|31=20"), ORDER.replace("11=A", "11=B"), pending]
    _, result = replayed(fix.read(written(tmp_path, lines)))
    assert result.verdict is True
    assert result.statuses == {"filled": 1, "pending_new": 1}


def test_a_cancel_of_an_order_that_nobody_knows_is_refused_in_the_replay_too(
    tmp_path: Path,
) -> None:
    reject = told("39=8|41=?").replace("35=8", "35=9").replace("37=X|11=A", "37=NONE|11=B")
    read = fix.read(written(tmp_path, [ORDER, ACK, asked("F", "B", "?"), reject]))
    desk, result = replayed(read)
    assert result.verdict is True
    assert_told(read, desk)


def test_a_day_order_trades_as_long_as_its_broker_says(tmp_path: Path) -> None:
    lines = [ORDER.replace("59=1", "59=0"), ACK, told("17=1|150=F|39=2|32=100|31=20")]
    lines[2] = lines[2].replace("20240603", "20240604")
    _, result = replayed(fix.read(written(tmp_path, lines)))
    assert result.verdict is True


@pytest.mark.parametrize("case", ["another day", "another session", "the same day"])
def test_a_log_whose_broker_takes_a_name_again_replays(tmp_path: Path, case: str) -> None:
    first = [line.replace("|49", "|1=ACC|56=YOU|49", 1) for line in (ORDER, ACK)]
    first = [line.replace("56=YOU|49=YOU", "56=ME|49=YOU") for line in first]
    again = [line.replace("37=X", "37=Y") for line in first]
    if case == "another day":
        again = [line.replace("20240603", "20240604") for line in again]
    elif case == "another session":
        again = [line.replace("=ME", "=THEM") for line in again]
    else:
        first.append(told("17=1|56=ME|150=F|39=2|32=100|31=20"))
        again = [line.replace("-12:", "-14:") for line in again]
    desk, result = replayed(fix.read(written(tmp_path, first + again)))
    assert result.verdict is True
    accounts = desk["c1"].statuses().select("account", "cl_ord_id").rows()
    assert accounts == [("ACC", "A"), ("ACC", "A")]


def test_parts_of_a_coin_replay(tmp_path: Path) -> None:
    lines = [ORDER.replace("38=100", "38=1.5"), told("17=1|150=F|39=1|32=0.00000001|31=20")]
    desk, result = replayed(fix.read(written(tmp_path, lines)))
    assert result.verdict is True
    assert desk.manifest.books.qty_scale == 10**8
    assert desk["c1"].statuses()["cum_qty"].to_list() == [1]


def test_requests_that_enter_as_they_are_follow_on() -> None:
    desk = network()
    order = submit(desk["c1"])
    requests = desk["c1"].tables["requests"].logs[order.order_id >> 48].since(0)
    with pytest.raises(GapError, match="the next is c1-1"):
        desk["c1"].enter(requests)


# And out again.


def written_again(tmp_path: Path, lines: Sequence[bytes]) -> fix.FixLog:
    path = tmp_path / "out.log"
    path.write_bytes(b"\n".join(lines))
    return fix.read(path, bad_lines="fail")


def assert_round_trip(desk: Network, at: str, tmp_path: Path, version: str) -> None:
    """What a system writes as FIX comes to the same, order by order, and as each report says."""
    held = [desk[at].tables[n].frame for n in ("requests", "executions") if n in desk[at].tables]
    requests, executions = held if len(held) > 1 else (frame("requests", []), *held)
    answers = status.statuses(requests, executions)
    due = {format_id(row["order_id"]): row for row in answers.to_dicts()}
    for with_requests in (True, False):
        lines = [*messages(desk[at], version=version, requests=with_requests)]
        read = written_again(tmp_path, lines)
        # Who does not hear the requests cannot know that one pends.
        known = with_requests or "requests" not in desk[at].tables
        found = [difference[2:4] for difference in differing(at, read)]
        pending = [("ord_status", "pending_cancel"), ("ord_status", "pending_replace")]
        assert set(found) <= ({*()} if known else {*pending})
        state = status.statuses(read.requests, read.executions)
        ids = read.stated.select("order_id", "secondary_order_id").unique()
        assert ids.height == len(due)
        for row in state.join(ids, on="order_id").to_dicts():
            expected = due[row["secondary_order_id"]]
            assert [row[n] for n in STATES[:4]] == [expected[n] for n in STATES[:4]]
            assert row["avg_px"] == pytest.approx(expected["avg_px"])


@pytest.mark.parametrize("version", ["4.2", "4.4", "5.0"])
@pytest.mark.parametrize("at", ["c2", "s1", "firm"])
def test_what_a_system_knows_says_the_same_when_it_is_read_again(
    tmp_path: Path, version: str, at: str
) -> None:
    streets = 1 if at == "s1" else 2
    desk = session(customers=2, streets=streets, orders=80, seed=11).network
    assert_round_trip(desk, at, tmp_path, version)


@pytest.mark.parametrize("seed", range(5))
def test_generated_sessions_say_the_same_when_they_are_read_again(
    tmp_path: Path, seed: int
) -> None:
    desk = session(customers=3, streets=2, orders=120, seed=seed).network
    assert_round_trip(desk, "c3", tmp_path, "4.4")


@pytest.mark.parametrize("name", [BROKER, MARKET])
def test_a_real_log_says_the_same_when_it_is_written_and_read_again(
    real_data: Path, tmp_path: Path, name: str
) -> None:
    desk, _ = replayed(log(real_data, name))
    read = written_again(tmp_path, [*messages(desk["c2"], requests=True)])
    assert list(differing(name, read)) == []
    again, result = replayed(read)
    assert result.verdict is True
    columns = ["ord_status", "order_qty", "cum_qty", "leaves_qty", "avg_px"]
    found = [d["c1"].statuses().select(columns).sort(columns) for d in (desk, again)]
    assert found[0].equals(found[1])


def test_another_reader_finds_every_message_whole(tmp_path: Path) -> None:
    desk = network()
    filled(desk)
    parser = simplefix.FixParser()
    for message in messages(desk["c1"], requests=True):
        parser.append_buffer(message)
        found = parser.get_message()
        assert found.encode() == message  # with the length and the sum that it works out itself
    assert parser.get_message() is None


def test_a_name_that_looks_like_a_message_is_read_again(tmp_path: Path) -> None:
    desk = network()
    submit(desk["c1"], cl_ord_id="8=FIX.4.4")
    desk.run()
    read = written_again(tmp_path, [*messages(desk["c1"], requests=True)])
    assert read.requests["cl_ord_id"].to_list() == ["8=FIX.4.4"]
    assert state(read) == [("new", 100, 0, 100)]


def test_an_order_that_was_refused_at_entry_is_told_as_rejected(tmp_path: Path) -> None:
    desk = network()
    order = submit(desk["c1"], order_qty=1_000_000, cl_ord_id="A")
    assert order.reject_reason
    read = written_again(tmp_path, [*messages(desk["c1"])])
    assert read.stated["ord_status"].to_list() == ["rejected"]
    assert read.executions["text"].to_list() == [order.reject_reason]


def test_another_version_or_separator_is_refused() -> None:
    desk = network()
    for options in ({"version": "3.9"}, {"separator": ","}):
        with pytest.raises(InvalidValue, match="expected one of"):
            next(messages(desk["c1"], **options))  # type: ignore[arg-type]


def test_the_commands_replay_a_log_and_write_it_again(tmp_path: Path) -> None:
    path, run = written(tmp_path, [ORDER, "8=FIX.4.2|35=8|17=2", ACK]), tmp_path / "run"

    def command(*words: str) -> Result:
        return CliRunner().invoke(app, words)

    done = command("replay", str(path), "--data", str(run))
    assert done.exit_code == 1, done.output
    assert "line 3: message=" in " ".join(done.output.split())
    failed = command("replay", str(path), "--bad-lines", "fail").exception
    assert isinstance(failed, InvalidValue)
    told_again = command("fix", str(run), "--at", "c2", "--separator", "|")
    assert told_again.exit_code == 0, told_again.output
    assert "|150=0|39=0|" in told_again.output
    past = command("fix", str(run), "--at", "c2", "--as-of", "2024-06-03T00:00:00Z")
    assert (past.exit_code, past.output) == (0, "")
    nobody = command("fix", str(run), "--at", "c9").exception
    assert isinstance(nobody, InvalidValue)


# Any text at all.

FUZZED = int(os.environ.get("TRADESYS_FUZZED_LOGS", "300"))


def fuzzed(chance: random.Random, lines: list[str]) -> bytes:
    """A log that was cut, mixed, repeated, overwritten or given huge fields."""
    data = bytearray("\n".join(chance.choices(lines, k=chance.randint(1, 12))).encode())
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) or 1)
        part = chance.choice(
            [
                *(b"", b"\x01", b"|", b"=", b"\n", b"\x00\xff\xfe", b"-1", b"1e999", b"8=FIX.4.4|"),
                *(b"9" * chance.randint(1, 30_000), b"35=8|", b"11=\xe9|", b"38=0.12345678|"),
                bytes(chance.randrange(256) for _ in range(chance.randint(1, 40))),
            ]
        )
        data[at : at + chance.choice([0, 1, 3, 50])] = part
    return bytes(data[: chance.choice([len(data), chance.randint(0, len(data))])])


def test_any_text_is_a_named_error_or_a_report(tmp_path: Path) -> None:
    chance = random.Random(2024)
    lines = [ORDER, ACK, asked("F", "B"), asked("G", "C", fields="38=150|44=21|")]
    lines += [told("17=1|150=F|39=1|32=10|31=20"), told("17=2|150=4|39=4").replace("=A|", "=B|")]
    lines += [told("17=3|150=5|39=0|38=150").replace("11=A", "11=C"), told("17=9|150=H|19=1|39=0")]
    lines += [told("39=0|41=A").replace("35=8", "35=9").replace("11=A", "11=B")]
    path, replays = tmp_path / "fuzzed.log", 0
    for number in range(FUZZED):
        text = fuzzed(chance, lines)
        path.write_bytes(gzip.compress(text) if chance.random() < 0.1 else text)
        try:
            read = fix.read(path)
        except SchemaError:
            continue
        counted = len(read.stated) + read.repeats + sum(read.ignored.values()) + len(read.bad)
        assert counted + read.requests.height - read.unheard == read.events, number
        if number % 10 == 0 and len(read.executions):
            _, result = replayed(read)
            assert result.verdict is not None, number
            replays += 1
    assert replays


def test_inspect_says_what_is_in_a_log(tmp_path: Path) -> None:
    report = told("17=1|20=0|150=0|39=0|14=0|151=100")
    beat, broken = "8=FIX.4.2|35=0|49=ME|10=000|", "8=FIX.4.2|35=D|49=ME|11=B"
    path = written(tmp_path, [ORDER.replace("40=2", "40=P"), report, beat, broken])
    found = inspect(path)
    assert (found.title, found.events, found.requests) == ("a log of FIX sessions", 4, 1)
    assert (found.fills, found.open, found.symbols, found.bad) == (0, 1, ("ALFA",), 1)
    assert dict(found.types.iter_rows()) == {
        "NewOrderSingle (D)": 1,
        "ExecutionReport (8)": 1,
        "Heartbeat (0)": 1,
    }
    assert found.faults["fault"].to_list() == ["a term that is none of ours: 40=P"]
    assert "a term that is none of ours: 40=P\n" in str(found)
    written(tmp_path, [beat])
    with pytest.raises(SchemaError, match="none of its 1 FIX messages is about an order"):
        inspect(path)


def test_those_orders_of_a_log_are_open_of_which_something_is_left(tmp_path: Path) -> None:
    reject = told("39=0|41=A").replace("35=8", "35=9").replace("11=A", "11=B")
    lines = [ORDER, told("17=0|20=0|39=0|14=0"), asked("F", "B"), reject]
    assert inspect(written(tmp_path, lines)).open == 1


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ("39=1|14=40|44=20.00001", 1),
        ("39=1|14=40|6=20.00125", 0),
        ("39=1|14=40|6=20.0013", 0),
        ("39=1|14=40", 0),
        ("39=5|14=40", 0),
        ("39=1|14=70", 1),
        ("39=2|14=40", 1),
        ("39=1|14=40|6=20.01", 1),
        ("39=1|14=40|6=20.0015", 1),
    ],
)
def test_orders_that_end_otherwise_than_the_broker_says_are_told_with_their_lines(
    tmp_path: Path, fields: str, count: int
) -> None:
    fills = [told(f"17={n}|150=F|32=20|{f}") for n, f in enumerate(("31=20|39=1", "31=20.0025"))]
    fills[1] = fills[1].replace("31=20.0025", f"31=20.0025|{fields}")
    path = written(tmp_path, [ORDER, ACK, *fills, asked("F", "B")])
    found, (_, result) = inspect(path), replayed(fix.read(path))
    due = [("ends otherwise than the broker says", 1, [5])] if count else []
    assert found.faults.rows() == due
    assert (result.verdict, result.otherwise, result.as_dict()["otherwise"]) == (True, count, count)
