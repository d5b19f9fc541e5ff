"""A cluster as an analyst has it: a network whose systems are mirrors of those that are elsewhere.

Whatever is asked is answered from what each real system held when it was last looked at; orders go
to the real system, and what it says comes back.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

from tradesys.cluster.broker import PATIENCE, Access, ask, connected
from tradesys.cluster.gateway import ROWS, RemoteVenue
from tradesys.cluster.layout import ANALYST
from tradesys.cluster.message_encoding import pack, unpack
from tradesys.inquiry.answers import Answer, Order, OrderLike
from tradesys.log.offsets import Offsets
from tradesys.network import Network
from tradesys.network.manifest import Manifest
from tradesys.records import argument_checks as given
from tradesys.records.clock import Clock, wall_clock
from tradesys.records.errors import InvalidValue, NotYetReplicated, SystemDown
from tradesys.records.schemas import Kind, Origin, parse_origin
from tradesys.replication.runtime import made
from tradesys.replication.transfer import behind, links, to_give_back
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.customer.table_input import columns_of
from tradesys.systems.street.symbol_assignment import Assignment
from tradesys.systems.system import Place, System
from tradesys.venue import calendar_of

LOOK = 2.0
"""So many seconds a system has to say what it holds, before it is taken to be down."""

PAUSE = 0.02
"""So many seconds between two looks at who is not at rest: they work meanwhile."""

T = TypeVar("T")


class _Broker:
    """The event loop, in a thread of its own, and what is asked through it."""

    def __init__(self, access: Access, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        try:
            self._client = self._wait(connected(access, name, PATIENCE))
        except BaseException:
            self._end()
            raise

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def _wait(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    def ask(self, subject: str, data: bytes, patience: float = PATIENCE) -> bytes:
        return self._wait(ask(self._client, subject, data, patience))

    def wait(self, seconds: float) -> None:
        """Let those who work do so."""
        self._wait(asyncio.sleep(seconds))

    def close(self) -> None:
        self._wait(self._client.close())
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class _Customer(CustomerSystem):
    """A mirror that takes no orders itself: the real system does."""

    broker: _Broker
    look: Callable[[], object]
    """Fetches what the real system holds by now."""
    peers = 0
    """So many others have an order on their disks, too, before it is acknowledged."""

    def _ask(self, verb: str, args: Sequence[Any], given: dict[str, Any]) -> Order:
        stated = {name: value for name, value in given.items() if value is not None}
        told = {"args": args, "given": stated, "peers": self.peers}
        answer, _ = unpack(self.broker.ask(f"ask.{self.name}.{verb}", pack(told, [])))
        return Order(*answer["order"])

    def submit(self, **given: Any) -> Order:
        return self._ask("submit", [], given)

    def cancel(self, order: Any, **given: Any) -> Order:
        return self._ask("cancel", [_plain(order)], given)

    def replace(self, order: Any, **given: Any) -> Order:
        return self._ask("replace", [_plain(order)], given)

    def status(self, order: OrderLike, *, at_least: Mapping[str, int] | None = None) -> Answer:
        """As in one process; what is not known here is fetched first."""
        try:
            return super().status(order, at_least=at_least)
        except (NotYetReplicated, InvalidValue):
            self.look()
            return super().status(order, at_least=at_least)

    def submit_many(self, table: pl.DataFrame | pa.Table | pa.RecordBatch) -> pl.DataFrame:
        """As in one process, but a large table is several: a message bears so many rows only."""
        batch, told = pa.RecordBatch.from_pydict(columns_of(table)), []
        for start in range(0, max(len(batch), 1), ROWS):
            asked = pack({"peers": self.peers}, [batch.slice(start, ROWS)])
            _, answer = unpack(self.broker.ask(f"ask.{self.name}.submit_many", asked, patience=60))
            told += answer
        return pl.DataFrame(pa.Table.from_batches(told))


def _plain(order: Any) -> Any:
    return order if isinstance(order, int | str) else order.order_id


class RemoteNetwork(Network):
    """See :func:`connect`."""

    def __init__(
        self, access: Access, manifest: Manifest, name: str, clock: Clock = wall_clock
    ) -> None:
        self.clock = self.now = clock
        self.manifest, self.data = manifest, None
        self.assignment = Assignment([o.system for o in manifest.origins if o.kind is Kind.STREET])
        super(Network, self).__init__()
        self._broker = _Broker(access, name)
        market: Any = RemoteVenue(lambda verb, data: self._broker.ask(f"market.desk.{verb}", data))
        market.calendar = calendar_of(manifest.venue)
        self.venue = market
        self.facts: dict[str, dict[str, Any]] = {}
        """What each system that answers has said of itself; those that do not are not in it."""
        self.systems = {each.system: self._mirror(each) for each in manifest.origins}
        self.links = links(list(self.systems.values()))
        self.step()

    def _mirror(self, origin: Origin) -> System:
        mirror = made(
            Place(origin, self.now, calendar=self.venue.calendar),
            venue=self.venue,
            assignment=self.assignment,
            fees=self.manifest.books.fees,
            customer=_Customer,
        )
        if isinstance(mirror, _Customer):
            mirror.broker = self._broker
            mirror.look = lambda: self._look_at(self.systems[origin.system])
        return mirror

    def step(self) -> int:
        """Look at all systems; gives how many records are new here."""
        with self.turn:
            return sum(self._look_at(system) for system in self.systems.values())

    def _look_at(self, system: System) -> int:
        new = 0
        self.facts.pop(system.name, None)
        try:
            while True:
                held = [(d, c, n) for (d, c), n in Offsets.of(system.tables).items()]
                asked = pack({"held": held}, [])
                told, batches = unpack(
                    self._broker.ask(f"ask.{system.name}.records", asked, patience=LOOK)
                )
                if system.origin.incarnation < parse_origin(told["origin"]).incarnation:
                    system = self._anew(parse_origin(told["origin"]))
                    continue
                with system.turn, system.lock:
                    for dataset, batch in zip(told["datasets"], batches, strict=True):
                        system.tables[dataset].take([batch])
                    system.news = system.news or bool(batches)
                new += sum(map(len, batches))
                if not batches:
                    self.facts[system.name] = told
                    break
            system.crashed, system.down = False, None
        except SystemDown as error:
            system.crashed, system.down = True, str(error)
        return new

    def _anew(self, origin: Origin) -> System:
        """A system has lost records and goes on as its next incarnation: it is looked at anew."""
        mirror = self._mirror(origin)
        self.systems = self.systems | {mirror.name: mirror}
        self.links = links(list(self.systems.values()))
        return mirror

    def _begin(self, kind: str, name: str) -> None:
        """Refuse to switch a fault on or off: these are mirrors."""
        raise InvalidValue("fault", kind, f"none here; stop or start the process that {name} is")

    def restart(self, name: str) -> None:
        """Refuse, as every fault."""
        self._begin("restart", name)

    def run(self, patience: float = 60.0) -> int:
        """Wait until all is quiet; gives how many records are new here.

        :raises SystemDown: it does not become so.
        """
        total, until = self.step(), time.monotonic() + patience
        while not self._was_at_rest():
            if time.monotonic() > until:
                raise SystemDown(f"not at rest: {', '.join(self._busy())}")
            self._broker.wait(PAUSE)
            total += self.step()
        return total

    def is_at_rest(self) -> bool:
        """Whether nothing is under way or left to do."""
        self.step()
        return self._was_at_rest()

    def _was_at_rest(self) -> bool:
        return not self._busy() and not any(behind(x) or to_give_back(x) for x in self.links)

    def _busy(self) -> list[str]:
        return [name for name in self.systems if not self.facts.get(name, {}).get("idle")]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self.systems)}, processes elsewhere>"

    def close(self) -> None:
        """Let go of the connection; the cluster goes on."""
        self._broker.close()


def connect(
    access: Access, manifest: Manifest, name: str = ANALYST, *, acknowledge: str = "own"
) -> RemoteNetwork:
    """The network of systems that are processes elsewhere.

    :param name: whose access it is: ``"analyst"``, who only asks, or ``"trader"``.
    :param acknowledge: on whose disks an order is before it is acknowledged: its system's
        ``"own"``; that of ``"one"`` more, so that it survives the loss of the first; of ``"all"``.
    :raises SystemDown: a system that is needed for that does not answer.
    """
    holders = sum(origin.kind in (Kind.CUSTOMER, Kind.FIRM) for origin in manifest.origins)
    peers = {"own": 0, "one": 1, "all": holders - 1}
    desk = RemoteNetwork(access, manifest, name)
    for customer in desk.customers:
        assert isinstance(customer, _Customer)
        customer.peers = peers[given.one_of("acknowledge", acknowledge, peers)]
    return desk
