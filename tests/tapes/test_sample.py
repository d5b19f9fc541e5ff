"""The sample day: that it can be remade, and that it is a market.

Goal: the committed files are what the generator makes, and hold together as order flow.
Method: make them again and compare bytes; then follow every message through a book of plain dicts.
"""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lobster_oracle import final_orders
from tradesys.records.errors import InvalidValue
from tradesys.venue.tapes import read
from tradesys.venue.tapes.sample_tape import SYMBOLS, generate

SAMPLE = Path(__file__).parents[2] / "data" / "sample"

Row = tuple[int, int, int, int, int, int]


def rows(path: Path) -> list[Row]:
    """The messages of a file, the time in nanoseconds."""
    found: list[Row] = []
    for line in path.read_text().splitlines():
        time, kind, order_id, size, price, direction = line.split(",")
        seconds, _, fraction = time.partition(".")
        assert len(fraction) == 9, "times have nine decimals"
        ns = int(seconds + fraction)
        found.append((ns, int(kind), int(order_id), int(size), int(price), int(direction)))
    return found


def follow(messages: list[Row]) -> None:
    """Assert that the messages are those of one book, never crossed, in price-time priority."""
    book: dict[int, tuple[int, int]] = {}  # order id: (direction, price), oldest first
    left: dict[int, int] = {}
    for _, kind, order_id, size, price, direction in messages:
        assert size > 0
        if kind == 1:
            assert order_id not in left, "an id is submitted once"
            book[order_id], left[order_id] = (direction, price), size
        if kind == 4 and order_id in book:
            side = [(d * p, o) for o, (d, p) in book.items() if d == direction]
            best = max(value for value, _ in side)
            first = next(o for value, o in side if value == best)
            assert order_id == first, "the oldest of the best-priced orders is executed"
        if kind in {2, 3, 4} and order_id in book:
            assert book[order_id] == (direction, price)
            left[order_id] -= size
            assert left[order_id] > 0 if kind == 2 else left[order_id] >= 0
            assert kind != 3 or not left[order_id], "a deletion takes all that is left"
            if not left[order_id]:
                del book[order_id]
        if kind in {2, 3, 4} and order_id not in left:
            assert order_id % 100_000_000 > 99_999_900, "an orphan is older than the file"
        bids = [p for d, p in book.values() if d == 1]
        asks = [p for d, p in book.values() if d == -1]
        assert not bids or not asks or max(bids) < min(asks), "the book is never crossed"


def test_the_committed_sample_is_what_the_generator_makes(tmp_path: Path) -> None:
    made = generate(tmp_path)
    assert [path.name for path in made] == sorted(path.name for path in SAMPLE.iterdir())
    for path in made:
        assert path.read_bytes() == (SAMPLE / path.name).read_bytes(), path.name


def test_the_sample_has_20_000_events_of_every_kind_in_four_symbols() -> None:
    paths = sorted(SAMPLE.iterdir())
    kinds = Counter(kind for path in paths for _, kind, *_ in rows(path))
    per_symbol = [len(rows(path)) for path in paths]
    assert kinds.total() == 20_000
    assert len(set(per_symbol)) == len(SYMBOLS)
    assert max(per_symbol) < 2 * min(per_symbol)
    share = {kind: count / kinds.total() for kind, count in kinds.items()}
    assert share[1] == pytest.approx(0.48, abs=0.02)
    assert share[2] == pytest.approx(0.01, abs=0.005)
    assert share[3] == pytest.approx(0.44, abs=0.02)
    assert share[4] == pytest.approx(0.06, abs=0.01)
    assert share[5] == pytest.approx(0.014, abs=0.005)
    assert sum(path.stat().st_size for path in paths) < 1_200_000


def test_the_sample_reads_as_a_tape_with_a_few_of_each_orphan() -> None:
    tape = read(SAMPLE)
    assert (tape.symbols, tape.events) == (SYMBOLS, 20_000)
    assert set(tape.ignored) == {
        "hidden execution",
        "orphan replace",
        "orphan cancel",
        "orphan execution",
    }
    assert sum(tape.ignored.values()) - tape.ignored["hidden execution"] < 50
    assert tape.requests["account"].n_unique() == 100
    assert str(tape.requests["ts"].dt.date().unique().item()) == "2024-06-03"


def test_orders_of_the_sample_end_in_every_way() -> None:
    ends = {status for path in SAMPLE.iterdir() for status, *_ in final_orders(path).values()}
    assert ends == {"new", "partially_filled", "filled", "canceled"}
    fills = read(SAMPLE).fills["cl_ord_id"].value_counts()["count"]
    assert (fills > 1).sum() > 100
    assert fills.to_numpy().max() >= 6


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_sample_is_a_book_in_price_time_priority(symbol: str) -> None:
    follow(rows(next(SAMPLE.glob(f"{symbol}_*"))))


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_day_is_busier_at_its_ends_than_at_noon(symbol: str) -> None:
    hours = Counter(
        (ns // 10**9 - 34_200) * 13 // 23_400 for ns, *_ in rows(next(SAMPLE.glob(f"{symbol}_*")))
    )
    assert min(hours[0], hours[12]) > 2 * hours[6]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_prices_are_whole_cents_but_for_hidden_executions(symbol: str) -> None:
    day = rows(next(SAMPLE.glob(f"{symbol}_*")))
    assert all(price % 100 == 0 for _, kind, _, _, price, _ in day if kind != 5)
    assert any(price % 100 == 50 for _, kind, _, _, price, _ in day if kind == 5)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    events=st.integers(30, 600),
    symbols=st.lists(
        st.from_regex(r"[A-Z]{1,4}", fullmatch=True), min_size=1, max_size=3, unique=True
    ),
)
def test_any_seed_gives_a_day_that_holds_together(
    seed: int, events: int, symbols: list[str]
) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        paths = generate(Path(one), seed=seed, events=events, symbols=symbols)
        again = generate(Path(other), seed=seed, events=events, symbols=symbols)
        assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
        assert len(list(Path(one).iterdir())) == len(symbols), "it writes nothing else"
        assert read(one).events == events
        for path in paths:
            day = rows(path)
            follow(day)
            assert all(34_200 * 10**9 <= ns < 57_600 * 10**9 for ns, *_ in day)
            assert all(ns <= later for (ns, *_), (later, *_) in pairwise(day))


def test_another_seed_gives_another_day(tmp_path: Path) -> None:
    one = generate(tmp_path / "one", seed=1, events=200)
    other = generate(tmp_path / "other", seed=2, events=200)
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("field", "value", "given"),
    [
        ("seed", -1, -1),
        ("events", 39, 39),
        ("symbols", (), ()),
        ("symbols", ("ALFA", "ALFA"), ("ALFA", "ALFA")),
        ("symbols", ("A_B",), "A_B"),
        ("symbols", ("../ALFA",), "../ALFA"),
        ("date", "2024-02-30", "2024-02-30"),
    ],
)
def test_an_argument_that_makes_no_day_is_refused_and_nothing_written(
    tmp_path: Path, field: str, value: object, given: object
) -> None:
    with pytest.raises(InvalidValue) as raised:
        generate(tmp_path / "sample", **{field: value})  # type: ignore[arg-type]
    assert (raised.value.field, raised.value.value) == (field, given)
    assert not (tmp_path / "sample").exists()
