"""A cluster of real processes: systems, servers and the market's gateway, each killed in turn.

Goal: nothing that was acknowledged is lost, nothing is executed twice, the audit is true; whoever
has no right is refused.
Method: three servers and seven processes on this machine; orders are entered while a fault lasts.
"""

import asyncio
import datetime as dt
import gc
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import nats
import nkeys
import numpy as np
import polars as pl
import pytest
import trustme

from tests.build import PRICE, run_of, sound
from tests.clusters import SILENCES, FaultyCluster, free_ports
from tradesys.cluster import layout as layouts
from tradesys.cluster import leases
from tradesys.cluster.broker import Access
from tradesys.cluster.connection import RemoteNetwork, connect
from tradesys.cluster.gateway import ROWS
from tradesys.cluster.layout import TRADER
from tradesys.cluster.message_encoding import decoded, encoded, encoded_within, pack
from tradesys.inquiry.answers import Order
from tradesys.records.errors import InvalidValue, NotYetReplicated, StorageError, SystemDown
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import parse_origin
from tradesys.replication.runtime import Records
from tradesys.replication.transfer import Carried

BOOKS = OpeningBooks(["alice", "bob"], ["ALFA", "DLTA"], cash=10**14, shares=10**9)
"""ALFA is the business of s1, and DLTA that of s2."""


class Entry:
    """Orders entered at every customer-facing system that answers, one after the other."""

    number = 0
    """Of all orders of all tests: a name that is given again is no order."""

    def __init__(self, desk: RemoteNetwork) -> None:
        self.desk = desk
        self.acknowledged: list[Order] = []
        self.waited, self.began = 0.0, time.monotonic()

    def enter(self, count: int) -> None:
        self.began = time.monotonic()
        for _ in range(count):
            Entry.number += 1
            customer = self.desk.customers[self.number % len(self.desk.customers)]
            side = "buy" if self.number % 3 else "sell"
            try:
                order = customer.submit(
                    account="alice" if side == "buy" else "bob",
                    symbol=BOOKS.symbols[self.number % 2],
                    side=side,
                    order_qty=10,
                    price=PRICE,
                    cl_ord_id=f"o{self.number}",
                )
            except (SystemDown, NotYetReplicated, StorageError):  # another is asked
                continue
            finally:
                self.waited = max(self.waited, time.monotonic() - self.began)
            assert not order.repeated
            self.acknowledged.append(order)
            self.began = time.monotonic()

    def await_home(self) -> None:
        """Wait until each street-side system executes for itself."""
        until = time.monotonic() + 30
        while any(self.desk.facts.get(s, {}).get("owns") != [s] for s in ("s1", "s2")):
            assert time.monotonic() < until, self.desk.facts
            self.desk.step()

    def note_silence(self, fault: str) -> None:
        """How long nobody acknowledged anything, and how long an order waited for the market."""
        if SILENCES and self.acknowledged:
            entered = {o.order_id for o in self.acknowledged}
            asked = self.desk["c1"].tables["requests"].frame.select("order_id", asked="ts")
            taken = self.desk.venue.reports.table()
            rows = pl.DataFrame(taken).filter(pl.col("exec_type").cast(pl.String) == "new")
            both = rows.join(asked, on="order_id").filter(pl.col("order_id").is_in(list(entered)))
            late = both.select(
                (pl.col("ts") - pl.col("asked")).max().dt.total_milliseconds()
            ).item()
            told = f"{fault}\t{len(entered)}\t{self.waited:.2f}\t{(late or 0) / 1000:.2f}\n"
            with Path(SILENCES).open("a", encoding="utf-8") as file:
                file.write(told)

    def require_sound(self) -> None:
        """All that was acknowledged is there, each order was worked once, and the audit is true."""
        self.desk.run()
        for customer in self.desk.customers:
            held = set(customer.tables["requests"].frame["record_id"].to_list())
            assert {order.record_id for order in self.acknowledged} <= held
        reports = self.desk.venue.reports.table().to_pylist()
        taken = [row["order_id"] for row in reports if row["exec_type"] in ("new", "rejected")]
        assert sorted(taken) == sorted(set(taken)), "no order is executed twice"
        assert {order.order_id for order in self.acknowledged} <= set(taken)
        audit = self.desk.audit()
        assert sound(audit), str(audit)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyCluster]:
    folder = tmp_path_factory.mktemp("cluster") / "run"
    layouts.init(folder, 3, 2, 3, books=BOOKS, port=free_ports())
    with FaultyCluster(folder) as running:
        yield running


@pytest.fixture
def entry(cluster: FaultyCluster, request: pytest.FixtureRequest) -> Iterator[Entry]:
    desk = connect(cluster.layout.access(TRADER), cluster.layout.manifest, TRADER)
    made = Entry(desk)
    made.await_home()
    yield made
    made.note_silence(request.node.name)
    desk.close()
    assert not cluster.executed_twice


@pytest.mark.parametrize("name", ["c1", "c2", "s1", "s2", "firm", "market", "n1", "n2", "n3"])
def test_a_process_that_is_killed_and_started_again_loses_nothing(
    cluster: FaultyCluster, entry: Entry, name: str
) -> None:
    entry.enter(20)
    cluster.kill(name)
    entry.enter(20)
    cluster.restart(name)
    entry.enter(20)
    entry.require_sound()


def test_an_order_is_asked_for_and_told_as_in_one_process(entry: Entry) -> None:
    terms: dict[str, Any] = {"account": "alice", "symbol": "ALFA", "side": "buy"}
    qty: Any = np.int64(10)
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=30)
    order = entry.desk["c1"].submit(
        **terms, order_qty=qty, price=Decimal("20.01"), time_in_force="gtd", expire_time=until
    )
    answer = entry.desk["c1"].status(order)  # though nobody has looked at c1 since
    assert (answer.order_qty, answer.price) == (10, 200_100)
    with pytest.raises(InvalidValue, match="order_qty"):
        entry.desk["c1"].submit(**terms, order_qty=0, price="20.01")
    with pytest.raises(InvalidValue, match="none here"):
        entry.desk.crash("c1")
    entry.require_sound()


def test_a_table_and_a_backlog_may_be_larger_than_a_message(
    cluster: FaultyCluster, entry: Entry
) -> None:
    rows = 2 * ROWS + 1
    table = pl.DataFrame(
        {
            "account": "alice",
            "symbol": "ALFA",
            "side": "buy",
            "order_qty": 10,
            "price": PRICE,
            "cl_ord_id": [f"{number:x<255}" for number in range(rows)],
        }
    )
    told = entry.desk["c1"].submit_many(table)
    assert told["accepted"].to_list() == [True] * rows
    entry.require_sound()
    for name in ("c1", "firm"):  # what is given back is of several datasets and origins at once
        cluster.kill(name)
        shutil.rmtree(cluster.layout.data / name)
        cluster.restart(name)
        entry.enter(3)
        entry.require_sound()


@pytest.mark.parametrize("name", ["c1", "s1", "firm"])
def test_a_system_that_lost_its_disk_is_given_back_what_it_wrote(
    cluster: FaultyCluster, entry: Entry, name: str
) -> None:
    entry.enter(20)
    entry.desk.run()
    cluster.kill(name)
    shutil.rmtree(cluster.layout.data / name)
    cluster.restart(name)
    entry.enter(20)
    entry.require_sound()


def test_a_loss_is_dealt_with_though_the_first_start_after_it_came_to_nothing(
    cluster: FaultyCluster, entry: Entry
) -> None:
    entry.enter(20)
    entry.desk.run()
    cluster.kill("c1")
    cluster.kill("firm")
    shutil.rmtree(cluster.layout.data / "c1")
    cluster.start("c1")
    await_said(cluster, "c1", '"event": "waits"')  # whoever is not up cannot be asked
    cluster.kill("c1")
    cluster.start("c1")
    cluster.restart("firm")
    cluster.await_ready("c1")
    entry.enter(20)
    entry.require_sound()


def await_said(cluster: FaultyCluster, name: str, words: str) -> None:
    """Wait until a process has logged these words since it was started."""
    until = time.monotonic() + 30
    log = cluster.logs / f"{name}.log"
    while words not in log.read_text()[cluster._said[name] :]:
        assert time.monotonic() < until


@pytest.mark.parametrize("name", ["c1", "market"])
def test_a_process_that_waits_for_a_server_ends_when_it_is_told(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "cluster1"
    layouts.init(folder, 1, 1, 1, books=BOOKS, port=free_ports())
    serve = [sys.executable, "-m", "tradesys", "serve", name, "--config", str(folder)]
    with subprocess.Popen(serve, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 30
        while not caught(process.pid, signal.SIGTERM):
            assert time.monotonic() < until
        process.terminate()
        assert process.wait(20) == 0


def caught(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = re.findall(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("wrong", [{"servers": 0}, {"port": 65_534}, {"servers": 3, "port": 0}])
def test_a_cluster_that_cannot_work_is_not_made(tmp_path: Path, wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"customers": 1, "streets": 1, "servers": 1} | wrong
    with pytest.raises(InvalidValue):
        layouts.init(tmp_path / "cluster1", **given)
    assert not (tmp_path / "cluster1").exists()


def test_what_one_more_has_on_its_disk_survives_the_loss_of_the_first(
    cluster: FaultyCluster,
) -> None:
    layout = cluster.layout
    desk = connect(layout.access(TRADER), layout.manifest, TRADER, acknowledge="one")
    try:
        entry = Entry(desk)
        for _ in range(3):
            entry.enter(9)
            cluster.kill("c2")
            shutil.rmtree(layout.data / "c2")
            cluster.restart("c2")
        entry.require_sound()
    finally:
        desk.close()


def test_a_street_side_system_that_slept_executes_nothing_when_it_wakes(
    cluster: FaultyCluster, entry: Entry
) -> None:
    entry.enter(10)
    entry.desk.run()
    os.kill(cluster.processes["s1"].pid, signal.SIGSTOP)
    entry.enter(20)
    await_executed(entry)  # another has taken its symbols over
    os.kill(cluster.processes["s1"].pid, signal.SIGCONT)
    entry.enter(20)
    entry.require_sound()


def await_executed(entry: Entry) -> None:
    """Wait until the market knows all orders that were acknowledged."""
    until = time.monotonic() + 30
    wanted = {order.order_id for order in entry.acknowledged}
    taken = set[int]()
    while not wanted <= taken:
        assert time.monotonic() < until
        with suppress(SystemDown):
            taken = set(entry.desk.venue.reports.table()["order_id"].to_pylist())


@pytest.mark.long
def test_a_majority_of_servers_may_be_away_and_come_back(
    cluster: FaultyCluster, entry: Entry
) -> None:
    entry.enter(10)
    for name in ("n1", "n2"):
        cluster.kill(name)
    entry.enter(10)
    for name in ("n1", "n2"):
        cluster.restart(name)
    entry.enter(10)
    entry.require_sound()


@pytest.mark.parametrize("name", ["c1", "s1", "firm", "market"])
def test_a_process_that_is_cut_off_is_done_without_and_comes_back(
    cluster: FaultyCluster, entry: Entry, name: str
) -> None:
    entry.enter(10)
    cluster.proxies[name].silence()
    try:
        entry.enter(10)
        if name == "s1":
            await_executed(entry)
    finally:
        cluster.proxies[name].speak()
    entry.enter(10)
    entry.require_sound()


@pytest.mark.long
def test_a_server_that_falls_silent_is_left_and_comes_back(
    cluster: FaultyCluster, entry: Entry
) -> None:
    entry.enter(10)
    os.kill(cluster.processes["n1"].pid, signal.SIGSTOP)
    try:
        entry.enter(10)
        await_executed(entry)
    finally:
        os.kill(cluster.processes["n1"].pid, signal.SIGCONT)
    entry.enter(10)
    entry.require_sound()


@pytest.mark.parametrize("name", ["c1", "s1", "firm"])
def test_a_system_whose_disk_is_full_goes_on_once_there_is_room(
    cluster: FaultyCluster, entry: Entry, name: str
) -> None:
    entry.enter(10)
    os.kill(cluster.processes[name].pid, signal.SIGUSR1)
    try:
        entry.enter(20)
    finally:
        os.kill(cluster.processes[name].pid, signal.SIGUSR2)
    entry.enter(10)
    entry.require_sound()


@pytest.mark.long
@pytest.mark.parametrize("names", [("n1",), ("n1", "n2", "n3")], ids=["one", "all"])
def test_the_store_of_servers_may_be_lost(
    cluster: FaultyCluster, entry: Entry, names: tuple[str, ...]
) -> None:
    entry.enter(10)
    for name in names:
        cluster.kill(name)
        shutil.rmtree(cluster.layout.folder / "servers" / name)
    for name in names:
        cluster.start(name)
    until = time.monotonic() + 2 * (leases.TTL + leases.MARGIN)
    while time.monotonic() < until:  # also when what they knew of leases is no longer good
        entry.enter(2)
        entry.require_sound()


# Who has no right is refused.


async def said(
    access: Access, subject: str = "", data: bytes = b"", seconds: float = 0.5
) -> list[str]:
    """What the servers say to somebody who connects and publishes one message."""
    heard: list[str] = []

    async def note(error: Exception) -> None:
        heard.append(str(error))

    try:
        broker = await nats.connect(
            access.servers[:1], allow_reconnect=False, error_cb=note, **access.options
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was said
        heard.append(repr(error))
    if heard:
        await asyncio.sleep(0)
        with warnings.catch_warnings(action="ignore"):
            gc.collect()  # the client leaves a connection that is refused to be found
        return heard
    try:
        if subject:
            await broker.publish(subject, data)
        await broker.flush()
        await asyncio.sleep(seconds)
    except Exception as error:  # noqa: BLE001
        heard.append(repr(error))
    finally:
        with suppress(Exception):
            await broker.close()
    return heard


def refused_at(cluster: FaultyCluster, name: str) -> int:
    return (cluster.logs / f"{name}.log").read_text().count('"refused"')


def seed() -> str:
    return bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)).decode()


def with_certificate(
    cluster: FaultyCluster, path: Path, authority: trustme.CA, until: dt.datetime | None = None
) -> ssl.SSLContext:
    """A certificate of an authority, which may be one that the servers do not know."""
    certificate = authority.issue_cert(
        "127.0.0.1", not_before=dt.datetime(2020, 1, 1, tzinfo=dt.UTC), not_after=until
    )
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
    context = ssl.create_default_context(cafile=str(cluster.layout.folder / "certificates/ca.pem"))
    context.load_cert_chain(str(path))
    return context


def test_whoever_has_no_key_a_wrong_one_or_a_foreign_certificate_is_not_let_in(
    cluster: FaultyCluster, tmp_path: Path
) -> None:
    folder, access = cluster.layout.folder, cluster.layout.access("analyst")
    own = trustme.CA.from_pem(
        (folder / "certificates" / "ca.pem").read_bytes(), (folder / "keys" / "ca.pem").read_bytes()
    )
    past = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)
    assert asyncio.run(said(access)) == []
    assert (
        asyncio.run(
            said(
                access._replace(
                    options=access.options
                    | {"tls": with_certificate(cluster, tmp_path / "own.pem", own)}
                )
            )
        )
        == []
    )
    for options in (
        {"nkeys_seed_str": None},
        {"nkeys_seed_str": seed()},
        {"tls": with_certificate(cluster, tmp_path / "foreign.pem", trustme.CA())},
        {"tls": with_certificate(cluster, tmp_path / "expired.pem", own, past)},
    ):
        denied = access._replace(options=access.options | options)
        assert asyncio.run(said(denied)), options


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("c2", "to.c3.c1"),  # in the name of another
        ("c2", "ask.c1.submit"),
        ("s1", "to.c1.s2"),
        ("c1", "market.s1.send"),
        ("analyst", "ask.c1.submit"),
        ("analyst", "to.c1.c2"),
        ("trader", "market.s1.fence"),
        ("trader", "$KV.leases.s1"),
        ("c1", "$KV.leases.s1"),
        ("firm", "$KV.leases.s1"),
    ],
)
def test_nobody_says_what_is_anothers_to_say(
    cluster: FaultyCluster, name: str, subject: str
) -> None:
    heard = asyncio.run(said(cluster.layout.access(name), subject, b"{}"))
    assert "permissions violation" in str(heard).lower()


def forged(system: str, dataset: str = "requests", of: str | None = None) -> bytes:
    """An answer of a system with a record that it may not have written."""
    batch = run_of(dataset, of or system, 1, 10**6)
    return encoded(Records(parse_origin(system), 1, [Carried(dataset, batch)]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 64,
        b'{"kind": "Pull"}\n',
        forged("c1"),
        forged("c2", of="c1"),
        forged("c2", "executions", of="c2"),
        forged("c2", "executions", of="s1"),
        forged("c2")[:-40],
        encoded(Records(parse_origin("c2"), 0, [])),
        pack({"kind": "Requests", "again": False}, [run_of("executions", "s1", 1)]),
    ],
)
def test_what_is_no_message_or_not_the_senders_to_say_is_refused_and_changes_nothing(
    cluster: FaultyCluster, entry: Entry, data: bytes
) -> None:
    entry.desk.run()
    before, held = refused_at(cluster, "c3"), entry.desk.summary()
    assert asyncio.run(said(cluster.layout.access("c2"), "to.c3.c2", data)) == []
    until = time.monotonic() + 10
    while refused_at(cluster, "c3") == before:
        assert time.monotonic() < until, "it is told"
    entry.desk.run()
    assert entry.desk.summary() == held


def test_what_is_too_large_is_not_taken(cluster: FaultyCluster) -> None:
    data = bytes(layouts.PAYLOAD + 1)
    assert asyncio.run(said(cluster.layout.access("c2"), "to.c1.c2", data))


def test_a_key_that_is_removed_is_let_in_no_more(cluster: FaultyCluster) -> None:
    users = cluster.layout.folder / "servers" / "users.conf"
    before = users.read_text()
    assert asyncio.run(said(cluster.layout.access("analyst"))) == []
    key = nkeys.from_seed(
        bytearray((cluster.layout.folder / "keys" / "analyst.nk").read_bytes())
    ).public_key.decode()
    try:
        users.write_text(
            before.replace(key, nkeys.from_seed(bytearray(seed().encode())).public_key.decode())
        )
        cluster.reload()
        until = time.monotonic() + 10
        while not asyncio.run(said(cluster.layout.access("analyst"), seconds=0)):
            assert time.monotonic() < until
    finally:
        users.write_text(before)
        cluster.reload()


def test_what_the_readme_says_of_many_machines_runs(
    cluster: FaultyCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```py\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "cluster1").symlink_to(cluster.layout.folder)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102 - the README's own
    found["desk"].close()
    assert found["order"].reject_reason is None


def test_a_system_is_one_process(cluster: FaultyCluster) -> None:
    command = [sys.executable, "-m", "tradesys", "serve", "c1", "--config"]
    ran = subprocess.run(
        [*command, str(cluster.layout.folder)], check=False, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "in use by another process" in ran.stderr


def test_the_demonstration_runs_a_day_and_tells_what_came_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tradesys", "cluster", "demo", "--servers", "1", "--json", "-"]
    sizes = ["--events", "3000", "--customers", "2", "--streets", "1"]
    ran = subprocess.run(
        [*command, *sizes, "--port", str(free_ports())],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    told = json.loads(ran.stdout)
    assert told["verdict"] is True
    assert 0 < told["accepted"] <= told["requests"]
    assert told["systems"]["c1"]["requests"] == told["systems"]["firm"]["requests"]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_anything_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(InvalidValue, match="empty or not there yet"):
        layouts.init(tmp_path, 1, 1, 1)
    with pytest.raises(InvalidValue, match="cluster init"):
        layouts.read(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.long
def test_a_cluster_is_run_twice_and_ends_with_its_terminal(tmp_path: Path) -> None:
    folder, log = tmp_path / "cluster1", tmp_path / "cluster1" / "logs" / "firm.log"
    layouts.init(folder, 1, 1, 1, books=BOOKS, port=free_ports())
    up = [sys.executable, "-m", "tradesys", "cluster", "up", str(folder)]
    for times, number in enumerate((signal.SIGHUP, signal.SIGINT), start=1):
        with (tmp_path / "said").open("wb") as said:
            ran = subprocess.Popen(up, stdout=said, stderr=said, start_new_session=True)
        until = time.monotonic() + 60
        while not log.exists() or log.read_bytes().count(b'"ready"') < times:
            assert ran.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < until
        ran.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            ran.wait(0.2)
        if number is signal.SIGINT:  # somebody cannot wait
            ran.send_signal(number)
        assert ran.wait(30) == (1 if number is signal.SIGHUP else 0)
        assert "error" not in (tmp_path / "said").read_text()
        left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if holds(path, folder)]
        assert left == [], "no process is left"


def holds(path: Path, folder: Path) -> bool:
    with suppress(OSError):
        return str(folder).encode() in path.read_bytes()
    return False


def test_of_records_that_do_not_fit_a_message_the_first_are_sent() -> None:
    batches = [run_of("requests", "c1", 1000), run_of("executions", "s1", 1000)]
    carried = [
        Carried(name, b) for name, b in zip(("requests", "executions"), batches, strict=True)
    ]
    body = Records(parse_origin("c1"), 0, carried)
    for size, datasets in ((10**6, 2), (len(encoded(body)) - 1, 1), (60_000, 1)):
        data = encoded_within(body, size)
        assert len(data) <= size
        sent = decoded("c1", "c2", data).body
        assert isinstance(sent, Records)
        assert len(sent.carried) == datasets
        assert sent.carried[0].batch.equals(batches[0].slice(0, len(sent.carried[0].batch)))
