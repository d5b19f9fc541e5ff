"""One system as a process: its runtime, and whoever asks it over the broker.

The event loop carries messages. The runtime is one thread's, so what it does by itself is done one
thing after the other; customers' requests are threads of their own, which share fdatasyncs.
"""

import asyncio
import logging
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import astuple
from functools import cache, partial
from typing import Any

import polars as pl
import pyarrow as pa
from nats.aio.msg import Msg

from tradesys.cluster.broker import ask, connected, serve
from tradesys.cluster.gateway import RemoteVenue
from tradesys.cluster.layout import Layout, read
from tradesys.cluster.leases import TTL, HomeAssignment, LeasedAssignment, Leasing, store_of
from tradesys.cluster.message_encoding import decoded, encoded, pack, unpack
from tradesys.cluster.metrics import Figures, TimedFile, behind
from tradesys.cluster.structured_log import note
from tradesys.log.offsets import Offsets
from tradesys.network import Network
from tradesys.network.manifest import locked
from tradesys.records.clock import MS, wall_clock
from tradesys.records.errors import (
    Busy,
    InvalidValue,
    ReadOnlyError,
    SchemaError,
    StorageError,
    SystemDown,
    TradesysError,
)
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import Kind, origin, parse_origin, split_id
from tradesys.replication.recovery import damaged, incarnations, set_aside
from tradesys.routes import WRITES
from tradesys.runtime import GiveBack, Message, Pull, Records, Runtime, Settings, made
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.firm import FirmSystem
from tradesys.systems.street import StreetSystem
from tradesys.systems.system import Place
from tradesys.venue import calendar_of

SETTINGS = Settings(
    heartbeat=200 * MS,
    seldom=1000 * MS,
    late=400 * MS,
    grace=800 * MS,
    resend=1000 * MS,
    resend_most=4000 * MS,
    rows=5_000,
)
"""Of systems on machines of their own."""

VERBS = ("submit", "cancel", "replace", "submit_many", "records", "figures", "drain", "meet")
"""What a system is asked for."""
UNANSWERED_MAX = 100_000
"""So many requests may wait for the street side's answer; then no more are taken."""
REASONS = {SchemaError: "malformed", ReadOnlyError: "forbidden"}
"""Why a message is refused: it is none, or it says what its sender may not say."""
UP_S = 3.0
"""Who has asked for records within so many seconds is up."""
MARKET_PATIENCE = 2.0
"""How many seconds an answer of the market's gateway is waited for: nothing else is done then."""


class Node:
    """A system at work. Make it, and :meth:`run` it in an event loop.

    :param layout: the cluster's; its data folder has that of this system.
    :param unanswered_max: so many requests may wait for the street side's answer.
    """

    def __init__(
        self,
        layout: Layout,
        name: str,
        *,
        settings: Settings = SETTINGS,
        unanswered_max: int = UNANSWERED_MAX,
    ) -> None:
        layout.manifest.require(name)
        self.layout, self.name, self.settings = layout, name, settings
        self.unanswered_max = unanswered_max
        self.peers = layout.manifest.origins
        (self.origin,) = (peer for peer in self.peers if peer.system == name)
        self.others = [peer.system for peer in self.peers if peer.system != name]
        self.streets = [peer.system for peer in self.peers if peer.kind is Kind.STREET]
        self.assignment = LeasedAssignment(self.streets)
        self.ready = asyncio.Event()
        self._stop, self._inbox = asyncio.Event(), asyncio.Queue[Message | None]()
        self.refused: Counter[str] = Counter()
        """How many messages were refused for each of the :data:`REASONS`."""
        self.acknowledged = 0
        """How many requests were accepted."""
        self.draining = False
        self._open = 0  # requests unanswered, at most
        self._entering = 0  # questions of customers that are being answered
        self._coming = 0  # messages not yet taken in that bring anything
        self._asked_back: set[str] = set()
        self._held: dict[str, Offsets] = {}
        self._held_at: dict[str, float] = {}
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._broke: BaseException | None = None

    async def run(self) -> None:
        """Work until :meth:`stop`; then close, with everything durable.

        :raises StorageError: another process is this system already.
        """
        with locked(self.layout.data / self.name):
            await self._run()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=self.name)
        self.broker = await connected(self.layout.access(self.name), self.name)
        try:
            while not hasattr(self, "runtime"):
                if self._stop.is_set():
                    return
                try:
                    self.runtime = await self._let(self._made)
                except SystemDown:  # of the market: it is waited for
                    await asyncio.sleep(0.2)
            self.system = self.runtime.system
            await self.broker.subscribe(f"to.{self.name}.*", cb=self._heard)
            await serve(self.broker, f"hello.*.{self.name}", self._hello)
            await self._begin()
            if isinstance(self.system, StreetSystem):
                await self.broker.subscribe("market.news", cb=self._news)
                await self._lease()
            await serve(self.broker, f"ask.{self.name}.*", self._asked)
            await self.broker.flush()
            self.ready.set()
            await self._work()
            if self._broke:
                raise self._broke
        finally:
            await self._end()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if hasattr(self, "leasing"):
            await self.leasing.give_up()
        if hasattr(self, "runtime"):
            await self._send(self.runtime.leave())
            await self._let(self.runtime.system.close)
        self._worker.shutdown()
        await self.broker.close()

    def stop(self) -> None:
        """Have :meth:`run` end, from its own thread."""
        self._stop.set()
        self._inbox.put_nowait(None)

    # ---- making

    def _made(self) -> Runtime:
        _warm_up()
        manifest, leased = self.layout.manifest, self.assignment
        calendar = calendar_of(manifest.venue)
        place = Place(self.origin, wall_clock, self.layout.data, TimedFile, calendar)
        venue: Any = None
        if self.origin.kind is Kind.STREET:
            venue = RemoteVenue(
                self._ask_market,
                lambda symbol: leased.epoch(symbol, self.name),
                lambda home: leased.leases.pop(home, None),
            )
        fees = manifest.books.fees
        # Whoever executes nothing sends to the home of a symbol, or to who stands in for it.
        assignment = leased if venue else HomeAssignment(self.streets)
        system = made(place, venue=venue, assignment=assignment, fees=fees)
        return Runtime(system, self.peers, assignment, self.settings, lambda _: True)

    async def _lease(self) -> None:
        """Take the leases of this street-side system, and look after them from now on."""
        servers = len(self.layout.servers)
        self.leasing = Leasing(
            self.name,
            self.assignment,
            lambda: store_of(self.broker, servers),
            self._fence,
            self._taken,
        )

        async def look_after() -> None:
            while True:
                await self.leasing.look(self.streets)
                await asyncio.sleep(TTL / 4)

        self._keep(look_after())

    async def _fence(self, home: str) -> int:
        """Begin an epoch: the market's gateway refuses whoever had the lease before."""
        told, _ = unpack(
            await ask(self.broker, f"market.{self.name}.fence", pack({"home": home}, []))
        )
        epoch: int = told["epoch"]
        return epoch

    async def _taken(self) -> None:
        """A lease is taken: what the one before may have left is looked at."""
        await self._let(self.runtime.take_over)
        self._keep(self._act(self.runtime.work))

    def _keep(self, what: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """A task has ended: if by what nobody foresaw, this process ends, and is started anew."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._broke = error
            note("error", logging.ERROR, error=repr(error))
            self.stop()

    async def _begin(self) -> None:
        """Begin, once it is known what peers hold that is not held here."""
        own = [self.system.tables[dataset] for dataset in WRITES[self.system.kind]]
        lost = self.system.forgot or any(t.file and t.file.is_new for t in own)
        lost = lost or any(table in own for table in damaged(self.system))
        if lost:
            known = [self.origin]
            for peer in self.others:
                asked = ask(self.broker, f"hello.{self.name}.{peer}", pack({}, []))
                known += map(parse_origin, unpack(await asked)[0]["incarnations"])
            self.system.origin = max(known)
        if not await self._let(self.runtime.begin, time.monotonic_ns(), lost=lost):
            raise SystemDown(f"{self.name} has been as many incarnations as there are")
        await self._let(set_aside, self.system)
        note("begins", incarnation=str(self.system.origin), lost=lost)
        if lost:
            await self._send([self.runtime.ask_back(peer) for peer in self.others])

    async def _hello(self, asker: str, _: str, __: bytes) -> bytes:
        """Which incarnations of a peer are known here: it has lost what it knew of itself."""
        known = incarnations(parse_origin(asker), self.system.tables.values())
        return pack({"incarnations": [*map(str, known)]}, [])

    # ---- what it does by itself

    async def _work(self) -> None:
        while not self._stop.is_set():
            due = max(self.runtime.due - time.monotonic_ns(), 0) / 1e9
            heard = []
            with suppress(TimeoutError):
                heard.append(await asyncio.wait_for(self._inbox.get(), due))
            while not self._inbox.empty():
                heard.append(self._inbox.get_nowait())
            messages = [message for message in heard if message is not None]
            try:
                await self._send(await self._let(self._take_in, messages))
            except (SystemDown, StorageError):
                if self.system.down:
                    raise
                await asyncio.sleep(0.05)  # the market does not answer: what waits is tried again
            for message in messages:
                self._coming -= _brings(message)
                if isinstance(message.body, Pull):
                    self._told_by(message.source, message.body.held)

    def _take_in(self, messages: list[Message]) -> list[Message]:
        """Take in what others said, and do what is due."""
        found, now = [], time.monotonic_ns()
        for message in messages:
            try:
                found += self.runtime.handle(message, now)
            except (SchemaError, ReadOnlyError) as error:
                self._refuse(message.source, error)
            except (SystemDown, StorageError):  # it is said again by whoever hears no answer
                if self.system.down:
                    raise
        if self.runtime.due <= now:
            found += self.runtime.tick(now)
        return found

    def _refuse(self, source: str, error: TradesysError) -> None:
        reason = REASONS[type(error)]
        self.refused[reason] += 1
        note("refused", logging.WARNING, reason=reason, source=source, text=str(error))

    async def _send(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message.body, GiveBack):
                self._asked_back.add(message.target)
            subject = f"to.{message.target}.{self.name}"
            await self.broker.publish(subject, encoded(message.body))

    async def _heard(self, message: Msg) -> None:
        _, target, source = message.subject.split(".")
        try:
            heard = decoded(source, target, message.data)
        except (SchemaError, ReadOnlyError) as error:
            self._refuse(source, error)
            return
        given_back = isinstance(heard.body, Records) and not heard.body.number
        if given_back and source not in self._asked_back:  # they may be records of others
            self._refuse(source, ReadOnlyError(f"{source} was not asked to give anything back"))
            return
        self._coming += _brings(heard)
        self._inbox.put_nowait(heard)

    async def _news(self, message: Msg) -> None:
        if isinstance(self.system, StreetSystem):
            venue: Any = self.system.venue
            venue.heard(int(message.data))
            await self._act(self.runtime.work)

    async def _act(self, act: Callable[[], list[Message]]) -> None:
        with suppress(SystemDown):
            await self._send(await self._let(act))

    async def _let(self, act: Callable[..., Any], *about: Any, **how: Any) -> Any:
        return await self._loop.run_in_executor(self._worker, partial(act, *about, **how))

    def _ask_market(self, verb: str, data: bytes) -> bytes:
        asked = ask(self.broker, f"market.{self.name}.{verb}", data, MARKET_PATIENCE)
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()

    # ---- what it is asked

    async def _asked(self, _: str, verb: str, data: bytes) -> bytes:
        told, batches = unpack(data)
        match verb:
            case "submit" | "cancel" | "replace":
                async with self._admitted(1):
                    order = await asyncio.to_thread(
                        getattr(self.system, verb), *told["args"], **told["given"]
                    )
                    self.acknowledged += order.reject_reason is None
                    await self._acknowledged(order.record_id, told.get("peers", 0))
                return pack({"order": astuple(order)}, [])
            case "submit_many":
                async with self._admitted(len(batches[0])):
                    answer = await asyncio.to_thread(self.system.submit_many, batches[0])
                    self.acknowledged += int(answer["accepted"].sum())
                    last = answer["record_id"].max()
                    if last is not None:
                        await self._acknowledged(last, told.get("peers", 0))
                return pack({}, _batches(answer))
            case "records":
                return await asyncio.to_thread(self._records, told)
            case "figures":
                figures = await asyncio.to_thread(self.figures)
                return pack({"unready": self.unready(), "figures": figures}, [])
            case "drain":
                await self.drain()
                return pack({}, [])
            case "meet":
                await self._meet()
                return pack({}, [])
            case _:
                raise InvalidValue("verb", verb, ", ".join(VERBS))

    @asynccontextmanager
    async def _admitted(self, requests: int) -> AsyncIterator[None]:
        """Let customers' requests in, unless this system stops or too many are unanswered.

        :raises SystemDown: it is being drained.
        :raises Busy: so many requests wait for the street side's answer that no more are taken.
        """
        self._require_open()
        self._entering += 1
        try:
            self._open += requests
            if self._open > self.unanswered_max:  # at most so many: how many is it?
                self._open = requests + await asyncio.to_thread(self._unanswered)
                if self._open > self.unanswered_max:
                    self._open -= requests
                    waiting = f"{self._open:,} requests wait for the street side"
                    raise Busy(f"{self.name} takes no more now: {waiting}; ask again later")
                self._require_open()
            yield
        finally:
            self._entering -= 1

    def _require_open(self) -> None:
        if self.draining:
            raise SystemDown(f"{self.name} is being drained; ask another customer-facing system")

    def _unanswered(self) -> int:
        assert isinstance(self.system, CustomerSystem)
        return sum(map(len, self.system.unanswered()))

    # ---- operating

    def unready(self) -> str:
        """Why it is not ready for whoever turns to it; empty if it is."""
        if not self.ready.is_set():
            return "it is starting"
        if self.draining:
            return "it is being drained"
        if not self.broker.is_connected:
            return "no server of the broker can be reached"
        return self.system.down or ""

    def figures(self) -> Figures:
        """How it is, in figures."""
        found: Figures = {"refused": dict(self.refused), **TimedFile.syncs}
        found["disk_free_bytes"] = shutil.disk_usage(self.layout.data).free
        if not hasattr(self, "system"):
            return found
        found["records"] = {
            f"{dataset}/{origin(code)}": log.count
            for dataset, table in self.system.tables.items()
            for code, log in list(table.logs.items())
        }
        found |= behind(self.system, dict(self._held), self.runtime.readers)
        if isinstance(self.system, CustomerSystem):
            found["acknowledged"], found["resent"] = self.acknowledged, self.runtime.resent
            found["unanswered"] = self._unanswered()
        elif isinstance(self.system, StreetSystem):
            found["lease"] = dict.fromkeys(self._owns(), 1)
        return found

    def _owns(self) -> list[str]:
        leases = self.assignment.leases.copy().items()
        return [home for home, lease in leases if lease.owner == self.name]

    async def drain(self) -> None:
        """Stop without a loss: finish what has begun, and have all who are up hold all of it.

        A customer-facing system takes no more requests, a street-side one gives its leases up; the
        process ends once nothing is left to do.
        """
        self.draining = True
        note("drains")
        while self._entering or self._has_work():  # noqa: ASYNC110 - many things change it
            await asyncio.sleep(0.02)
        if hasattr(self, "leasing"):
            await self.leasing.give_up()
        while lacking := self._lacking():
            note("drains", lacking=lacking)
            await asyncio.sleep(0.1)
        note("drained")
        self._loop.call_soon(self.stop)

    def _has_work(self) -> bool:
        match self.system:
            case CustomerSystem():
                return bool(self.system.outbox().num_rows)
            case StreetSystem() | FirmSystem():
                return self.system.has_work
        return False

    def _lacking(self) -> dict[str, float]:
        """How many records each of those lacks who are up."""
        since = time.monotonic() - UP_S
        up = [peer for peer in self.runtime.readers if self._held_at.get(peer, 0) > since]
        told = behind(self.system, self._held, up)["behind_records"]
        assert isinstance(told, dict)
        return {reader: count for reader, count in told.items() if count}

    async def _meet(self) -> None:
        """Know of systems that were added to the cluster's folder."""
        self.layout = read(self.layout.folder)
        self.peers = self.layout.manifest.origins
        self.others = [peer.system for peer in self.peers if peer.system != self.name]
        self.streets[:] = [peer.system for peer in self.peers if peer.kind is Kind.STREET]
        if hasattr(self, "leasing"):
            self.leasing.wait()  # a new system has the time to ask for its own lease
        await self._let(self.runtime.meet, self.peers, time.monotonic_ns())
        note("meets", systems=self.others)
        self._inbox.put_nowait(None)

    async def _acknowledged(self, record_id: int, peers: int) -> None:
        """Send what was accepted; wait until so many peers have it on their disks."""
        self._keep(self._act(self.runtime.work))
        if peers:
            done = self._loop.create_future()
            self._waiting.append((record_id, peers, done))
            self._resolve()
            await done

    def _told_by(self, peer: str, held: Offsets) -> None:
        """A peer says what it holds, on its disk, of what this system wrote."""
        self._held[peer], self._held_at[peer] = held, time.monotonic()
        self._resolve()

    def _resolve(self) -> None:
        still = []
        for record_id, peers, done in self._waiting:
            code, sequence = split_id(record_id)
            if sum(held["requests", code] > sequence for held in self._held.values()) < peers:
                still.append((record_id, peers, done))
            elif not done.done():
                done.set_result(None)
        self._waiting = still

    def _records(self, told: dict[str, Any]) -> bytes:
        """What is held beyond offsets, as it is held, and whether anything is left to do here."""
        wanted = Offsets(((d, c), n) for d, c, n in told["held"])
        system, found, room = self.system, [], self.settings.rows
        for name, table in system.tables.items():
            for code, log in list(table.logs.items()):
                batch = log.since(wanted[name, code], room)
                if batch is not None:
                    found.append((name, batch))
                    room -= len(batch)
        idle = not (found or self._coming or self._has_work())
        if isinstance(system, CustomerSystem):
            idle = idle and not system.unanswered()
        datasets = [name for name, _ in found]
        told = {"datasets": datasets, "origin": str(system.origin), "idle": idle}
        told["owns"] = self._owns()
        return pack(told, [batch for _, batch in found])


@cache
def _warm_up() -> None:
    """Work once as all systems do: what is loaded at its first use is so before service."""
    row: dict[str, Any] = {"account": "a", "symbol": "b", "order_qty": 1, "price": 1}
    table = pl.DataFrame([row | {"side": side, "cl_ord_id": side} for side in ("buy", "sell")])
    with Network(1, 1, firm=OpeningBooks(("a",), ("b",), tick_size=1, lot_size=1)) as desk:
        desk["c1"].submit_many(table)
        desk["c1"].submit(**row, side="buy")
        desk.run()
        for message in desk.runtimes["firm"].pull("c1", 0):
            decoded(message.source, message.target, encoded(message.body))


def _brings(message: Message) -> bool:
    """Whether it is more than a question or an answer of nothing, which come all the time."""
    match message.body:
        case Pull():
            return False
        case Records(carried=carried):
            return bool(carried)
        case _:
            return True


def _batches(frame: pl.DataFrame) -> list[pa.RecordBatch]:
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    found: list[pa.RecordBatch] = table.to_batches()
    return found
