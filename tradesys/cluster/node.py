"""One system as a process: its runtime, and whoever asks it over the broker.

The event loop carries messages. The runtime is one thread's, so what it does by itself is done one
thing after the other; customers' requests are threads of their own, which share fdatasyncs.
"""

import asyncio
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from itertools import chain
from typing import Any

import polars as pl
from nats.aio.msg import Msg

from tradesys.cluster.broker import ask, connected, serve
from tradesys.cluster.gateway import RemoteVenue
from tradesys.cluster.layout import PAYLOAD, Layout, read
from tradesys.cluster.leases import TTL, HomeAssignment, LeasedAssignment, Leasing, store_of
from tradesys.cluster.message_encoding import decoded, encoded, encoded_within, pack, unpack
from tradesys.cluster.metrics import Figures, TimedFile
from tradesys.cluster.service import UNANSWERED_MAX, Service
from tradesys.cluster.structured_log import note
from tradesys.log.disk import make_folder, write_whole
from tradesys.network import Network
from tradesys.network.manifest import locked
from tradesys.records.clock import MS, wall_clock
from tradesys.records.errors import (
    ReadOnlyError,
    SchemaError,
    StorageError,
    SystemDown,
    TradesysError,
)
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import Kind, Origin, parse_origin
from tradesys.replication.recovery import damaged, incarnations, set_aside
from tradesys.replication.runtime import GiveBack, Message, Pull, Records, Runtime, Settings, made
from tradesys.routes import WRITES
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

REASONS = {SchemaError: "malformed", ReadOnlyError: "forbidden"}
"""Why a message is refused: it is none, or it says what its sender may not say."""
LOST = "lost"
"""The name of a file that says: files of this system are gone, and peers are yet to be asked."""
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
        self.folder = layout.data / name
        self.others = [peer.system for peer in self.peers if peer.system != name]
        self.streets = [peer.system for peer in self.peers if peer.kind is Kind.STREET]
        self.assignment = LeasedAssignment(self.streets)
        self.ready = asyncio.Event()
        self._stop, self._inbox = asyncio.Event(), asyncio.Queue[Message | None]()
        self.refused: Counter[str] = Counter()
        """How many messages were refused for each of the :data:`REASONS`."""
        self._coming = 0  # messages not yet taken in that bring anything
        self._asked_back: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._broke: BaseException | None = None

    async def run(self) -> None:
        """Work until :meth:`stop`; then close, with everything durable.

        :raises StorageError: another process is this system already.
        """
        with locked(self.folder):
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
            self.service = Service(self)
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
        await self._give_up()
        if hasattr(self, "runtime"):
            await self._send(self.runtime.leave())
            await self._let(self.runtime.system.close)
        await asyncio.to_thread(self._worker.shutdown)  # what is left there may ask the market
        await self.broker.close()

    def stop(self) -> None:
        """Have :meth:`run` end, from its own thread."""
        self._stop.set()
        self._inbox.put_nowait(None)

    # ---- making

    def _made(self) -> Runtime:
        _warm_up()
        self._note_loss()
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

    def _note_loss(self) -> None:
        """Where own files are gone, note it before they are made anew, until it is dealt with."""
        own = [
            self.folder / "authoritative" / f"{name}.arrows" for name in WRITES[self.origin.kind]
        ]
        if not all(path.exists() for path in own):
            make_folder(self.folder)
            write_whole(self.folder / LOST, b"")

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
        self.work_soon()

    def work_soon(self) -> None:
        """Do what there is to do, whoever waits for what."""
        self._keep(self._act(self.runtime.work))

    @property
    def is_told_anything(self) -> bool:
        """Whether messages that bring anything wait to be taken in."""
        return self._coming > 0

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
        lost = self.system.forgot or (self.folder / LOST).exists()
        lost = lost or any(table in own for table in damaged(self.system))
        if lost:
            known = [await self._known_by(peer) for peer in self.others]
            self.system.origin = max([self.origin, *chain(*known)])
        if not await self._let(self.runtime.begin, time.monotonic_ns(), lost=lost):
            raise SystemDown(f"{self.name} has been as many incarnations as there are")
        await self._let(set_aside, self.system)
        (self.folder / LOST).unlink(missing_ok=True)  # what it entails is durable now
        note("begins", incarnation=str(self.system.origin), lost=lost)
        if lost:
            await self._send([self.runtime.ask_back(peer) for peer in self.others])

    async def _known_by(self, peer: str) -> list[Origin]:
        """The incarnations of this system that a peer knows of, once it can be asked."""
        while True:
            try:
                told = await ask(self.broker, f"hello.{self.name}.{peer}", pack({}, []))
            except SystemDown as error:
                note("waits", logging.WARNING, peer=peer, error=str(error))
                await asyncio.sleep(0.5)
            else:
                return [parse_origin(name) for name in unpack(told)[0]["incarnations"]]

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
                    self.service.held_by(message.source, message.body.held)

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
            await self.broker.publish(subject, encoded_within(message.body, PAYLOAD))

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
        if verb == "meet":
            await self._meet()
            return pack({}, [])
        if verb == "drain":
            await self.service.drain(self._give_up)
            self._loop.call_soon(self.stop)
            return pack({}, [])
        return await self.service.answer(verb, *unpack(data))

    async def _give_up(self) -> None:
        """Leave the symbols that are executed here to others."""
        if hasattr(self, "leasing"):
            await self.leasing.give_up()

    def unready(self) -> str:
        """Why it is not ready for whoever turns to it; empty if it is."""
        if not self.ready.is_set():
            return "it is starting"
        if not self.broker.is_connected:
            return "no server of the broker can be reached"
        return self.service.unready()

    def figures(self) -> Figures:
        """How it is, in figures."""
        found: Figures = {"refused": dict(self.refused), **TimedFile.syncs}
        found["disk_free_bytes"] = shutil.disk_usage(self.layout.data).free
        return found | (self.service.figures() if hasattr(self, "service") else {})

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
