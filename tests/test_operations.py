"""A cluster as its operator has it: figures, health, events, drains, further systems, Busy.

Goal: whoever runs it sees what is wrong, and changes it while customers go on entering orders.
Method: real processes on this machine, looked at and changed by the commands that an operator has.
"""

import asyncio
import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from tests.build import PRICE, Row, sound
from tests.clusters import free_ports
from tests.test_cluster import BOOKS, forged, said, seed
from tradesys import Busy, connect
from tradesys.cli import app
from tradesys.cluster import layout as layouts
from tradesys.cluster import operations
from tradesys.cluster.leases import HomeAssignment, LeasedAssignment, Leasing
from tradesys.cluster.metrics import DESCRIBED, Figures, serve_metrics
from tradesys.cluster.processes import Cluster
from tradesys.cluster.server_log import refusals
from tradesys.cluster.structured_log import JsonLines, logger
from tradesys.inquiry.answers import Order
from tradesys.network import Network
from tradesys.records.errors import InvalidValue, NotYetReplicated, Outcome, SystemDown

TERMS: Row = {"account": "alice", "symbol": "ALFA", "side": "buy", "order_qty": 10, "price": PRICE}


def made(folder: Path, customers: int, streets: int, servers: int) -> Path:
    layouts.init(folder / "run", customers, streets, servers, books=BOOKS, port=free_ports())
    return folder / "run"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(made(tmp_path_factory.mktemp("cluster"), 2, 2, 3)) as running:
        yield running


@pytest.fixture
def desk(cluster: Cluster) -> Iterator[Network]:
    found = connect(cluster.layout.folder, as_="trader")
    yield found
    found.close()


def restarted(cluster: Cluster, name: str, *options: str) -> None:
    cluster.end(name)
    cluster.start(name, *options)
    cluster.await_ready(name)


def command(*words: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "tradesys", "cluster", *words],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "160"},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def status(cluster: Cluster) -> operations.Told:
    return operations.status(cluster.layout)


def got(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(port: int) -> dict[str, dict[str, float]]:
    """Each figure that a process tells, by its labels."""
    code, text = got(port, "/metrics")
    assert code == 200
    return {
        family.name: {"/".join(s.labels.values()): s.value for s in family.samples}
        for family in text_string_to_metric_families(text)
    }


def awaited(holds: Callable[[], object], what: str, patience: float = 20.0) -> None:
    until = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < until, what


# ---- figures and health


def test_a_process_that_is_not_ready_says_why_and_one_that_is_tells_its_figures() -> None:
    reasons = ["it is starting", ""]
    told: Figures = {"records": {"requests/c1.2": 7}, "resent": 3}
    server = serve_metrics(0, lambda: told, lambda: reasons[0])
    try:
        assert got(server.server_port, "/health") == (503, "it is starting\n")
        reasons.pop(0)
        assert got(server.server_port, "/health") == (200, "200 OK\n")
        assert got(server.server_port, "/secrets")[0] == 404
        found = samples(server.server_port)
        assert found == {"tradesys_records": {"requests/c1.2": 7}, "tradesys_resent": {"": 3}}
    finally:
        server.shutdown()
        server.server_close()


def test_every_figure_is_told_to_prometheus(cluster: Cluster, desk: Network) -> None:
    ports = {name: free_ports() + place for place, name in enumerate(("c1", "s1", "market"))}
    for name, port in ports.items():
        restarted(cluster, name, "--metrics", str(port))
    desk["c1"].submit(**TERMS)
    desk.run()
    assert {got(port, "/health")[0] for port in ports.values()} == {200}
    found = {name: samples(port) for name, port in ports.items()}
    assert set().union(*found.values()) == {f"tradesys_{name}" for name in DESCRIBED}
    c1 = found["c1"]
    assert c1["tradesys_acknowledged"][""] == 1
    assert c1["tradesys_unanswered"][""] == 0
    assert c1["tradesys_records"]["requests/c1"] >= 1
    assert c1["tradesys_behind_records"].keys() == {"c2", "firm"}
    assert c1["tradesys_fsyncs"][""] >= 1
    assert c1["tradesys_fsync_seconds"][""] > 0
    assert found["market"]["tradesys_reported"][""] >= 1


def test_who_does_not_come_along_is_behind_by_records_and_by_their_age(
    cluster: Cluster, desk: Network
) -> None:
    cluster.kill("c2")
    try:
        for _ in range(3):
            desk["c1"].submit(**TERMS)
        found = status(cluster)
        assert not found["c2"]["up"]
        assert found["c2"]["behind_records"] >= 3
        assert found["c2"]["behind_seconds"] > 0
    finally:
        cluster.restart("c2")
    desk.run()
    awaited(lambda: not status(cluster)["c2"]["behind_records"], "it catches up")
    assert status(cluster)["c2"]["behind_seconds"] == 0


def test_status_shows_every_process_at_one_look(cluster: Cluster) -> None:
    awaited(lambda: leases(cluster) == [["s1"], ["s2"]], "each has its own lease")
    found = json.loads(command("status", str(cluster.layout.folder), "--json", "-"))
    assert list(found) == ["market", "c1", "c2", "s1", "s2", "firm"]
    assert all(each["up"] and not each["unready"] for each in found.values())
    assert all(each["figures"]["disk_free_bytes"] for each in found.values())
    shown = command("status", str(cluster.layout.folder))
    assert all(name in shown for name in found)


def leases(cluster: Cluster) -> list[list[str]]:
    found = status(cluster)
    return [list(found[name]["figures"].get("lease", {})) for name in ("s1", "s2")]


# ---- what is refused is counted


def test_a_message_that_is_refused_is_counted_by_its_reason(cluster: Cluster) -> None:
    def refused() -> dict[str, int]:
        return {"malformed": 0, "forbidden": 0} | status(cluster)["c1"]["figures"]["refused"]

    before = refused()
    for data in (b"\0", forged("c2", of="c1")):
        assert asyncio.run(said(cluster.layout.access("c2"), "to.c1.c2", data)) == []
    after = {reason: count + 1 for reason, count in before.items()}
    awaited(lambda: refused() == after, "both are counted")


def test_what_a_server_refuses_is_counted_there(cluster: Cluster) -> None:
    port = free_ports()
    restarted(cluster, "n1", "--metrics", str(port))
    access = cluster.layout.access("analyst")
    wrong = access._replace(options=access.options | {"nkeys_seed_str": seed()})
    assert asyncio.run(said(wrong))
    assert asyncio.run(said(access, "to.c1.c2", b""))
    awaited(lambda: set(samples(port)["tradesys_refused"]) >= {"key", "forbidden"}, "both")
    assert got(port, "/health")[0] == 200
    restarted(cluster, "n1")


def test_the_words_of_a_server_for_what_it_refuses_are_known() -> None:
    lines = [
        '[ERR] 127.0.0.1:1 - cid:5 - authentication error - Nkey "UA"',
        "[ERR] 127.0.0.1:1 - cid:6 - TLS handshake error: remote error: tls: bad certificate",
        '[ERR] 127.0.0.1:1 - cid:7 - Publish Violation - Nkey "UA", Subject "to.c1.c2"',
        "[ERR] 127.0.0.1:1 - cid:8 - maximum payload violation: 9 vs 8",
        "[INF] Server is ready",
    ]
    assert refusals(lines) == {"key": 1, "certificate": 1, "forbidden": 1, "too large": 1}


def test_whatever_a_system_says_is_a_line_of_json_with_an_event(cluster: Cluster) -> None:
    log = cluster.logs / "s1.log"
    awaited(lambda: '"lease taken"' in log.read_text(), "it has its lease")
    lines = log.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert {"at", "level", "event", "system"} <= set.intersection(*map(set, events))
    assert {event["system"] for event in events} == {"s1"}
    assert {"begins", "ready", "lease taken"} <= {event["event"] for event in events}


def test_an_error_that_is_logged_has_its_traceback_in_the_same_line() -> None:
    with pytest.raises(InvalidValue) as raised:
        layouts.read(Path("/nowhere"))
    record = logger.makeRecord("", 40, "", 0, "error", (), raised._excinfo)
    line = JsonLines("c1").format(record)
    assert "\n" not in line
    assert "InvalidValue" in json.loads(line)["traceback"]


# ---- draining


class Customers:
    """Customers who turn to another system when they are told that nothing has happened."""

    def __init__(self, desk: Network) -> None:
        self.desk, self.accepted, self.number = desk, list[Order](), 0

    def enter(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.accepted.append(self._entered(f"r{id(self)}-{self.number}"))

    def _entered(self, name: str) -> Order:
        """The order is taken by somebody; who may have it already is asked again, by its name."""
        at, until = self.number, time.monotonic() + 30
        while True:
            customer = self.desk.customers[at % len(self.desk.customers)]
            symbol = BOOKS.symbols[self.number % 2]
            assert time.monotonic() < until, f"{name} is taken by nobody"
            try:
                return customer.submit(**TERMS | {"symbol": symbol}, cl_ord_id=name)
            except (SystemDown, NotYetReplicated, Busy) as error:
                at += error.outcome is Outcome.DID_NOT_HAPPEN

    def require_all_worked(self) -> None:
        self.desk.run()
        assert all(order.reject_reason is None for order in self.accepted)
        reports = self.desk.venue.reports.table().to_pylist()
        taken = [row["order_id"] for row in reports if row["exec_type"] == "new"]
        assert len(taken) == len(set(taken)), "no order is executed twice"
        assert {order.order_id for order in self.accepted} <= set(taken)
        audit = self.desk.audit()
        assert sound(audit), str(audit)


def test_a_customer_facing_system_that_drains_refuses_orders_and_leaves_nothing_behind(
    cluster: Cluster, desk: Network
) -> None:
    folder, log = cluster.layout.folder, cluster.logs / "c1.log"
    said_before = len(log.read_text())
    careful = connect(folder, as_="trader", acknowledge="all")
    os.kill(cluster.processes["c2"].pid, signal.SIGSTOP)  # so the order is not at all others
    with ThreadPoolExecutor() as threads:
        try:
            before = written(cluster)
            threads.submit(careful["c1"].submit, **TERMS, cl_ord_id="last")
            awaited(lambda: written(cluster) > before, "it is taken, and waits for c2")
            drains = threads.submit(command, "drain", str(folder), "c1")
            awaited(lambda: '"drains"' in log.read_text()[said_before:], "it has begun")
            with pytest.raises(SystemDown, match="being drained; ask another") as raised:
                desk["c1"].submit(**TERMS)
            assert raised.value.outcome is Outcome.DID_NOT_HAPPEN
        finally:
            os.kill(cluster.processes["c2"].pid, signal.SIGCONT)
        assert "c1 has stopped" in drains.result()
    assert cluster.processes["c1"].wait(20) == 0
    careful.close()
    desk.step()
    assert "last" in desk["c2"].orders("alice")["cl_ord_id"].to_list()
    cluster.restart("c1")
    desk.run()


def written(cluster: Cluster) -> float:
    records = status(cluster)["c1"]["figures"]["records"]
    return sum(count for log, count in records.items() if log.startswith("requests/c1"))


@pytest.mark.long
def test_all_processes_are_restarted_one_by_one_and_no_order_is_lost_or_refused(
    cluster: Cluster, desk: Network
) -> None:
    customers = Customers(desk)
    for name in ("c1", "c2", "s1", "s2", "firm"):
        customers.enter(5)
        operations.drain(cluster.layout, name)
        assert cluster.processes[name].wait(20) == 0
        customers.enter(5)
        cluster.restart(name)
    for name in ("market", *cluster.servers):
        customers.enter(5)
        cluster.end(name)
        customers.enter(5)
        cluster.restart(name)
    customers.enter(5)
    customers.require_all_worked()


# ---- growing


@pytest.mark.long
def test_a_customer_facing_and_a_street_side_system_are_added_while_it_runs(
    tmp_path: Path,
) -> None:
    with Cluster(made(tmp_path, 1, 2, 1)) as cluster:
        desk = connect(cluster.layout.folder, as_="trader")
        before = [
            desk["c1"].submit(**TERMS | {"symbol": s}) for s in (*BOOKS.symbols, *BOOKS.symbols)
        ]
        desk.run()
        desk.close()
        for kind, name in (("customer", "c2"), ("street", "s3")):
            told = command("add", str(cluster.layout.folder), kind)
            cluster.layout = layouts.read(cluster.layout.folder)
            assert f"tradesys serve {name} --config" in told
            cluster.start(name)
            cluster.await_ready(name)
        awaited(lambda: "s3" in status(cluster)["s3"]["figures"]["lease"], "it has its lease")
        desk = connect(cluster.layout.folder, as_="trader")
        assert [system.name for system in desk] == ["c1", "c2", "s1", "s2", "s3", "firm"]
        desk.run()
        assert {desk["c2"].status(each).order_id for each in before} == {
            each.order_id for each in before
        }
        customers = Customers(desk)
        customers.enter(10)
        cluster.kill("s1")  # one of the two others stands in, the same for all of its symbols
        customers.enter(4)
        awaited(lambda: worked(desk, customers), "another has taken its symbols over")
        cluster.restart("s1")
        customers.require_all_worked()
        desk.close()


def worked(desk: Network, customers: Customers) -> bool:
    desk.step()
    reported = set(desk.venue.reports.table()["order_id"].to_pylist())
    return {order.order_id for order in customers.accepted} <= reported


@pytest.mark.long
def test_nothing_is_added_while_a_system_does_not_answer(tmp_path: Path) -> None:
    folder = made(tmp_path, 1, 1, 1)
    with Cluster(folder) as cluster:
        cluster.kill("s1")
        held = (folder / "servers" / "users.conf").read_bytes()
        ran = subprocess.run(
            [sys.executable, "-m", "tradesys", "cluster", "add", str(folder), "street"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 2
        assert "s1 must answer first; nothing was added" in " ".join(ran.stderr.split())
        assert layouts.read(folder).manifest.streets == 1
        assert (folder / "servers" / "users.conf").read_bytes() == held


class Store:
    """A store of one lease."""

    def __init__(self, owner: str) -> None:
        self.owner, self.revision = owner, 1

    async def get(self, _: str) -> SimpleNamespace:
        value = json.dumps({"owner": self.owner}).encode()
        return SimpleNamespace(value=value, revision=self.revision)

    async def update(self, _: str, value: bytes, last: int) -> int:
        assert last == self.revision
        self.owner, self.revision = json.loads(value)["owner"], last + 1
        return self.revision


def test_a_lease_that_was_taken_while_the_market_was_away_is_taken_again() -> None:
    store, assignment, epochs = Store("s2"), LeasedAssignment(["s1", "s2"]), iter([None, 7])

    async def opened() -> Any:
        return store

    async def fence(home: str) -> int:
        epoch = next(epochs)
        if epoch is None:
            raise SystemDown("the market is away")
        return epoch

    async def taken() -> None:
        pass

    async def looks() -> None:
        leasing = Leasing("s1", assignment, opened, fence, taken)
        await leasing.look(["s1"])
        assert assignment.leases["s1"].owner == "s2"
        store.owner, store.revision = "", 2  # s2 gives it back
        await leasing.look(["s1"])
        assert assignment.leases["s1"].owner == "s2", "the market has not been told"
        await leasing.look(["s1"])

    asyncio.run(looks())
    assert assignment.leases["s1"][:2] == ("s1", 7)


def test_one_system_stands_in_for_all_symbols_of_a_home_that_is_down() -> None:
    assignment = HomeAssignment(["s1", "s2", "s3"])
    symbols = [f"SYM{number}" for number in range(60)]
    of_s1 = [symbol for symbol in symbols if assignment.home(symbol) == "s1"]
    assert {assignment.street_for(symbol) for symbol in of_s1} == {"s1"}
    assignment.see({"s2", "s3"})
    assert {assignment.street_for(symbol) for symbol in of_s1} == {assignment.stand_in("s1")}
    assignment.see(set())
    assert {assignment.street_for(symbol) for symbol in of_s1} == {"s1"}


# ---- too much


def test_no_more_is_taken_than_may_wait_for_the_street_side(
    cluster: Cluster, desk: Network
) -> None:
    restarted(cluster, "c1", "--unanswered", "5")
    streets = [cluster.processes[name] for name in ("s1", "s2")]
    for process in streets:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        taken = [desk["c1"].submit(**TERMS) for _ in range(5)]
        with pytest.raises(Busy, match="5 requests wait for the street side") as raised:
            desk["c1"].submit(**TERMS)
        assert raised.value.outcome is Outcome.DID_NOT_HAPPEN
        assert desk["c2"].submit(**TERMS).reject_reason is None
    finally:
        for process in streets:
            os.kill(process.pid, signal.SIGCONT)
    desk.run()
    assert desk["c1"].submit(**TERMS).reject_reason is None
    desk.run()
    assert len(desk["c1"].tables["requests"].rows([order.record_id for order in taken])) == 5
    restarted(cluster, "c1")


def test_nobody_is_connected_by_a_name_that_has_no_key(cluster: Cluster) -> None:
    with pytest.raises(InvalidValue, match=r"trder.*did you mean trader"):
        connect(cluster.layout.folder, as_="trder")


# ---- the page that says how


PAGE = (Path(layouts.__file__).parent / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert isinstance(found, str)
    return found


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read_string(block("ini"))
    words = parser["Service"]["ExecStart"].split()
    assert words[1:3] == ["serve", "%i"]
    unit = tmp_path / "tradesys@.service"
    unit.write_text(block("ini").replace(words[0], sys.executable).replace("User=tradesys\n", ""))
    if shutil.which("systemd-analyze"):
        ran = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", f"{unit.parent}/tradesys@c1.service"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert "tradesys@" not in ran.stderr, ran.stderr


def test_the_commands_of_the_page_are_commands_that_there_are() -> None:
    lines = block("dockerfile").splitlines()
    assert [line.split()[0] for line in lines] == [
        *("FROM", "COPY", "RUN", "USER", "VOLUME", "STOPSIGNAL", "ENTRYPOINT")
    ]
    entry = json.loads(lines[-1].removeprefix("ENTRYPOINT "))
    assert entry[:2] == ["tradesys", "serve"]
    for words in (["serve"], *(["cluster", name] for name in ("up", "status", "drain", "add"))):
        assert f"tradesys {' '.join(words)} " in PAGE
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0
