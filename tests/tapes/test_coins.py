"""Exchanges of coins: quantities of eight decimals, and feeds with all the faults of a network."""

import json
from pathlib import Path

import pytest

from tradesys.network.tape_replay import open_network, replay
from tradesys.venue.tapes import Tape, inspect, open_tape, read

COIN = 10**8


def bitstamp(name: str, order_id: int, amount: str, price: str = "236.47", ms: int = 0) -> str:
    said = {"price": price, "amount": amount, "datetime": "1", "id": order_id, "order_type": 0}
    return f"{1430438404518 + ms} order_{name} {json.dumps(said)}"


def tape_of(folder: Path, *texts: str) -> Tape:
    (folder / "flow").write_text("\n".join([*texts, ""]))
    return read(folder / "flow", bad_lines="fail")


def test_what_a_change_takes_away_was_executed_and_a_deletion_of_something_is_a_cancel(
    tmp_path: Path,
) -> None:
    tape = tape_of(
        tmp_path,
        bitstamp("created", 1, "2.00000000"),
        bitstamp("changed", 1, "1.78855669"),
        bitstamp("deleted", 1, "1.78855669"),
        bitstamp("created", 2, "0.1"),
        bitstamp("deleted", 2, "0.00000000"),
    )
    requests = tape.requests.select("request_type", "cl_ord_id", "order_qty", "price").rows()
    assert requests == [
        ("new", "BTCUSD:1", 2 * COIN, 2_364_700),
        ("cancel", "BTCUSD:1.1", 2 * COIN, 2_364_700),
        ("new", "BTCUSD:2", COIN // 10, 2_364_700),
    ]
    assert tape.fills["last_qty"].to_list() == [21_144_331, COIN // 10]
    assert tape.qty_scale == COIN


def test_late_and_repeated_events_are_counted_and_harm_nothing(tmp_path: Path) -> None:
    first, gone = bitstamp("created", 1, "2"), bitstamp("deleted", 1, "2")
    tape = tape_of(
        tmp_path,
        *(first, gone, gone, first),
        *(bitstamp("deleted", 2, "1"), bitstamp("created", 2, "1", ms=5)),
        bitstamp("changed", 3, "1"),
    )
    assert tape.requests["request_type"].to_list() == ["new", "cancel"]
    assert tape.ignored == {
        "cancel of a closed order": 1,
        "new order of an id that was closed": 1,
        "orphan cancel": 1,
        "deleted before it was entered": 1,
        "orphan execution": 1,
    }
    faults = dict(inspect(tmp_path / "flow").faults.select("fault", "lines").rows())
    assert faults["deleted before it was entered"] == [6]
    assert faults["cancel of a closed order"] == [3]
    assert faults["a line again"] == [3, 4]


@pytest.mark.parametrize(
    "line",
    [
        bitstamp("created", 9, "0.000000001"),
        bitstamp("created", 9, "1", "236.47001"),
        bitstamp("created", 9, "1e30"),
        bitstamp("created", 9, "NaN"),
        bitstamp("created", 9, "0"),
        bitstamp("created", 9, "-1"),
        bitstamp("created", 9, "100000000000"),
        bitstamp("moved", 9, "1"),
        "1430438404518 order_created {",
        "1430438404518 order_created []",
        "1430438404518",
    ],
)
def test_a_line_that_does_not_fit_is_named_and_left_out(tmp_path: Path, line: str) -> None:
    right = [bitstamp("created", n, "1") for n in range(3)]
    (tmp_path / "flow").write_text("\n".join([*right, line]))
    found = inspect(tmp_path / "flow")
    assert (found.bad, found.requests) == (1, 3)
    assert found.bad_lines["line"].to_list() == [4]


def test_orders_with_a_guid_are_of_the_book_of_their_channel(tmp_path: Path) -> None:
    def line(event: str, guid: str, **more: object) -> str:
        about = {"OrderType": "LimitBid", "OrderGuid": guid, **more}
        said = {"Channel": "orderbook-eth", "Data": about, "Event": event}
        return f"1649023809.25: {json.dumps(said)}"

    guid = "be3c69b7-1c5e-446f-b80d-8398aae065c5"
    tape = tape_of(
        tmp_path,
        "wss://websockets.independentreserve.com <-> 1649023807.984895",
        line("NewOrder", guid, Price={"aud": 4_726.2, "usd": 3_500}, Volume=15.0),
        line("OrderChanged", guid, Volume=14.5),
        line("OrderCanceled", guid),
        '1649023810.1: {"Event":"Heartbeat"}',
    )
    assert tape.requests.select("request_type", "cl_ord_id", "order_qty", "price").rows() == [
        ("new", f"eth:{guid}", 15 * COIN, 47_262_000),
        ("cancel", f"eth:{guid}.1", 15 * COIN, 47_262_000),
    ]
    assert tape.fills["last_qty"].to_list() == [COIN // 2]
    assert tape.ignored == {"connection": 1, "Heartbeat": 1}


# The counts of whole files are those that come with the data.
REAL = [
    (
        "bitstamp/bitstamp_2015-05-01_first_3h_raw.log.xz",
        {"created": 16_084, "changed": 433, "deleted": 16_092, "trade": 406, "order_book": 3_251},
        36_266,
        0,
    ),
    (
        "bitstamp/bitstamp_2015-05-01_first_3h_order_events.csv.gz",
        {"add": 16_084, "execute": 433, "delete": 16_092},
        32_609,
        0,
    ),
    (
        "independent_reserve/ws.txt.gz",
        {
            "NewOrder": 831,
            "OrderCanceled": 832,
            "Heartbeat": 1,
            "Subscriptions": 1,
            "connection": 2,
        },
        1_667,
        47,  # prices of five decimals
    ),
]


@pytest.mark.parametrize(("name", "types", "events", "bad"), REAL)
def test_a_real_feed_has_the_counts_that_are_known_of_it_and_replays(
    real_data: Path, name: str, types: dict[str, int], events: int, bad: int
) -> None:
    found = inspect(real_data / name)
    assert dict(found.types.rows()) == types
    assert (found.events + found.bad, found.bad) == (events, bad)
    tape = open_tape(real_data / name)
    with open_network(tape) as network:
        result = replay(tape, network)
        assert result.verdict is True, str(result.audit)
        assert not result.refused
        assert not result.not_filled
        assert result.requests + result.fills + sum(result.tape.ignored.values()) == found.events


def test_a_log_and_its_table_make_the_same_tape(real_data: Path) -> None:
    names = ("raw.log.xz", "order_events.csv.gz")
    log, table = (read(real_data / f"bitstamp/bitstamp_2015-05-01_first_3h_{n}") for n in names)
    assert log.requests.drop("event").equals(table.requests.drop("event"))
    assert log.fills.drop("event").equals(table.fills.drop("event"))
