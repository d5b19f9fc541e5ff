"""Tables of one's own: any columns, by a mapping, as CSV, Parquet or Arrow."""

from pathlib import Path

import polars as pl
import pytest

from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.venue.tapes import inspect, read
from tradesys.venue.tapes.mapped import parse_map, save_map

MAP = "ts=Time,symbol=Sym,kind=What,kind.N=add,kind.F=execute,order_id=OrderRef,side=BS,side.1=buy"
MAP += ",side.2=sell,qty=Qty,price=Px,qty_scale=1000"
FRAME = pl.DataFrame(
    {
        "Px": ["50.25", "50.2500", ""],
        "Time": ["2024-06-03T13:30:00.25Z", "2024-06-03 13:30:01", "1717421402123"],
        "Sym": ["ALFA"] * 3,
        "What": ["N", "F", "Cancelled"],
        "OrderRef": ["x-1"] * 3,
        "BS": ["1", "", ""],
        "Qty": ["1.5", "0.250", ""],
        "Comment": ['say "so", twice', "", ""],
    }
)


@pytest.mark.parametrize("kind", ["csv", "semicolons", "parquet", "arrow", "stream"])
def test_a_table_is_read_by_its_mapping_whatever_it_is_written_as(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "flow"
    if kind in ("csv", "semicolons"):
        FRAME.write_csv(path, separator="," if kind == "csv" else ";")
    elif kind == "parquet":
        FRAME.write_parquet(path)
    else:
        (FRAME.write_ipc if kind == "arrow" else FRAME.write_ipc_stream)(path)
    tape = read(path, columns=MAP, bad_lines="fail")
    assert tape.requests.select(
        "request_type", "cl_ord_id", "side", "order_qty", "price"
    ).rows() == [
        ("new", "ALFA:x-1", "buy", 1_500, 502_500),
        ("cancel", "ALFA:x-1.1", "buy", 1_500, 502_500),
    ]
    assert tape.fills.select("last_qty", "last_px").rows() == [(250, 502_500)]
    stamps = tape.requests["ts"].dt.timestamp("ms").to_list()
    assert stamps == [1_717_421_400_250, 1_717_421_402_123]
    assert tape.qty_scale == 1_000


SIZES = [n * 1e-6 for n in range(1, 1_001)] + [0.1 + 0.2, 1e3]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_floating_point_number_is_that_of_the_nearest_unit(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "flow"
    of_all: dict[str, list[object]] = {
        "T": [1717423200.25],
        "Id": [7.0],
        "BS": ["B"],
        "P": [100.1 + 0.2],
    }
    frame = pl.DataFrame({n: values * len(SIZES) for n, values in of_all.items()})
    frame = frame.with_columns(Q=pl.Series(SIZES), Id=pl.int_range(pl.len()).cast(pl.Float64))
    (frame.write_csv if kind == "csv" else frame.write_parquet)(path)
    columns = "ts=T,order_id=Id,side=BS,price=P,qty=Q,qty_scale=100000000"
    found = read(path, columns=columns, symbol="ALFA", bad_lines="fail").requests
    assert found["order_qty"].to_list() == [round(size * 10**8) for size in SIZES]
    assert set(found["price"]) == {1_003_000}
    assert set(found["ts"].dt.timestamp("ms")) == {1_717_423_200_250}


def test_a_column_of_numbers_is_rounded_to_the_unit_and_whole_ones_are_written_so(
    tmp_path: Path,
) -> None:
    path = tmp_path / "flow"
    sides = pl.Series([1.0, -1.0])
    pl.DataFrame(
        {"T": 1.7174232e18, "Id": [7.0, 8.0], "BS": sides, "P": 50.12344, "Q": 2.4}
    ).write_parquet(path)
    columns = "ts=T,order_id=Id,side=BS,side.1=buy,side.-1=sell,price=P,qty=Q"
    found = read(path, columns=columns, symbol="ALFA", bad_lines="fail").requests
    assert found.select("cl_ord_id", "side", "order_qty", "price").rows() == [
        ("ALFA:7", "buy", 2, 501_234),
        ("ALFA:8", "sell", 2, 501_234),
    ]
    assert found["ts"].dt.year().to_list() == [2024, 2024]


def test_what_is_left_of_an_order_is_its_quantity_where_a_row_states_no_other(
    tmp_path: Path,
) -> None:
    path = tmp_path / "flow.csv"
    rows = ["new,,100", "trade,,40", "modify,,70", "cancel,,"]
    texts = [f"171742320{n},1,B,10,{row}" for n, row in enumerate(rows)]
    path.write_text("\n".join(["T,Id,BS,P,K,Q,L", *texts]))
    columns = "ts=T,order_id=Id,side=BS,price=P,kind=K,qty=Q,leaves=L"
    tape = read(path, columns=columns, symbol="ALFA", bad_lines="fail")
    found = tape.requests.select("request_type", "order_qty").rows()
    assert found == [("new", 100), ("replace", 130), ("cancel", 130)]
    assert tape.fills["last_qty"].to_list() == [60]


def test_a_mapping_that_was_saved_is_the_same(tmp_path: Path) -> None:
    mapping = parse_map(MAP)
    save_map(mapping | {"side.\"b'": "buy"}, tmp_path / "map.toml")
    assert parse_map(str(tmp_path / "map.toml")) == mapping | {"side.\"b'": "buy"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ts=a", "missing are order_id, side, qty, price"),
        ("tea=a,ts=b", "columns are ts, symbol, kind"),
        ("ts=,order_id=a", "ts="),
        (f"{MAP},qty.decimals=8", "qty.decimals=8.*values are those of side and kind"),
        (f"{MAP},ts.zone=UTC", "ts.zone=UTC"),
        (f"{MAP},side.3=long", "side.3='long': expected one of buy, sell"),
        (f"{MAP},kind.X=new", "kind.X='new': expected one of add, "),
        (MAP.replace("1000", "7"), "expected one of 1, 10, 100"),
        (MAP.replace("1000", "x"), "qty_scale"),
        (f"{MAP},ts.of_day=h", "expected one of ns, us, ms, s"),
        ("no/such/file.toml", "a TOML file"),
    ],
)
def test_a_mapping_that_is_none_is_refused(text: str, what: str) -> None:
    with pytest.raises(InvalidValue, match=what):
        parse_map(text)


def test_a_column_that_is_not_there_is_named_beside_those_that_are(tmp_path: Path) -> None:
    FRAME.drop("Px").write_csv(tmp_path / "flow")
    with pytest.raises(SchemaError, match="no column Px; it has Time, Sym, What"):
        read(tmp_path / "flow", columns=MAP)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("Px", "50.12345", "Px=50.12345: expected a price above 0, of at most 4 decimals"),
        ("Px", "-1", "Px=-1: expected a price"),
        ("Time", "yesterday", "Time=yesterday: expected a time"),
        ("What", "Z", "What=Z: expected one of"),
        ("OrderRef", "", "OrderRef=: expected an id"),
        ("BS", "3", "BS=3: expected one of"),
        ("Sym", "", "Sym=: expected a symbol"),
        ("Qty", "0.0001", "Qty=0.0001: expected a quantity of at most 3 decimals"),
        ("Qty", "0", "Qty=0: expected a quantity above 0"),
        ("Qty", "1e-5", "Qty=1e-5: expected a quantity of at most 3 decimals"),
        ("Qty", "123456789.0001", "Qty=123456789.0001: expected a quantity of at most 3"),
        ("Qty", "123456789012.0001", "Qty=123456789012.0001: expected a quantity of at"),
        ("Qty", "9007199254740993.0001", "Qty=9007199254740993.0001: expected a quantity"),
        ("Qty", "1e30", "Qty=1e30: expected a quantity"),
        ("Qty", "e5", "Qty=e5: expected a quantity"),
    ],
)
def test_a_row_that_does_not_fit_is_named(
    tmp_path: Path, column: str, value: str, reason: str
) -> None:
    new = FRAME.head(1)
    rows = [
        new,
        new.with_columns(OrderRef=pl.lit("x-2")),
        new.with_columns(pl.lit(value).alias(column)),
    ]
    pl.concat(rows).write_csv(tmp_path / "flow")
    found = inspect(tmp_path / "flow", columns=MAP)
    ((_, line, why),) = found.bad_lines.rows()
    assert line == 4
    assert why.startswith(reason)
