"""What a system's process is asked: by customers, by analysts who look, by whoever operates it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import astuple
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from tradesys.cluster.leases import LeasedAssignment
from tradesys.cluster.message_encoding import pack
from tradesys.cluster.metrics import Figures, behind
from tradesys.cluster.structured_log import note
from tradesys.log.offsets import Offsets
from tradesys.records.errors import Busy, InvalidValue, SystemDown
from tradesys.records.schemas import origin, split_id
from tradesys.replication.runtime import Runtime, Settings
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.firm import FirmSystem
from tradesys.systems.street import StreetSystem

VERBS = ("submit", "cancel", "replace", "submit_many", "records", "figures", "drain", "meet")
"""What a system is asked for."""
UNANSWERED_MAX = 100_000
"""So many requests may wait for the street side's answer; then no more are taken."""
UP_S = 3.0
"""Who has asked for records within so many seconds is up."""


class Process(Protocol):
    """What the service of a system needs of the process that it is in."""

    runtime: Runtime
    assignment: LeasedAssignment
    settings: Settings
    unanswered_max: int

    @property
    def is_told_anything(self) -> bool:
        """Whether messages that bring anything wait to be taken in."""

    def work_soon(self) -> None:
        """Do what there is to do."""

    def unready(self) -> str:
        """Why it is not ready."""

    def figures(self) -> Figures:
        """How it is, in figures."""


class Service:
    """Answers for one system; see :data:`VERBS`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        # Whose subjects let nobody but an operator or an analyst ask has no such verbs.
        self._system: Any = process.runtime.system
        self.acknowledged = 0
        """How many requests were accepted."""
        self.draining = False
        self._open = 0  # requests unanswered, at most
        self._entering = 0  # questions of customers that are being answered
        self._held: dict[str, Offsets] = {}
        self._held_at: dict[str, float] = {}
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def answer(self, verb: str, told: dict[str, Any], batches: list[pa.RecordBatch]) -> bytes:
        """Answer one question.

        :raises InvalidValue: there is none of this name.
        :raises TradesysError: what the system says.
        """
        match verb:
            case "submit" | "cancel" | "replace":
                async with self._admitted(1):
                    order = await asyncio.to_thread(
                        getattr(self._system, verb), *told["args"], **told["given"]
                    )
                    self.acknowledged += order.reject_reason is None
                    await self._acknowledged(order.record_id, told.get("peers", 0))
                return pack({"order": astuple(order)}, [])
            case "submit_many":
                async with self._admitted(len(batches[0])):
                    answer = await asyncio.to_thread(self._system.submit_many, batches[0])
                    self.acknowledged += int(answer["accepted"].sum())
                    last = answer["record_id"].max()
                    if last is not None:
                        await self._acknowledged(last, told.get("peers", 0))
                return pack({}, _batches(answer))
            case "records":
                return await asyncio.to_thread(self._records, told)
            case "figures":
                figures = await asyncio.to_thread(self._process.figures)
                return pack({"unready": self._process.unready(), "figures": figures}, [])
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
            if self._open > self._process.unanswered_max:  # at most so many: how many is it?
                self._open = requests + await asyncio.to_thread(self._unanswered)
                if self._open > self._process.unanswered_max:
                    self._open -= requests
                    waiting = f"{self._open:,} requests wait for the street side"
                    raise Busy(f"{self._system.name} takes no more now: {waiting}; ask again later")
                self._require_open()
            yield
        finally:
            self._entering -= 1

    def _require_open(self) -> None:
        if self.draining:
            raise SystemDown(
                f"{self._system.name} is being drained; ask another customer-facing system"
            )

    def _unanswered(self) -> int:
        assert isinstance(self._system, CustomerSystem)
        return sum(map(len, self._system.unanswered()))

    async def _acknowledged(self, record_id: int, peers: int) -> None:
        """Send what was accepted; wait until so many peers have it on their disks."""
        self._process.work_soon()
        if peers:
            done = asyncio.get_running_loop().create_future()
            self._waiting.append((record_id, peers, done))
            self._resolve()
            await done

    def held_by(self, peer: str, held: Offsets) -> None:
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
        system, found, room = self._system, [], self._process.settings.rows
        for name, table in system.tables.items():
            for code, log in list(table.logs.items()):
                batch = log.since(wanted[name, code], room)
                if batch is not None:
                    found.append((name, batch))
                    room -= len(batch)
        idle = not (found or self._process.is_told_anything or self._has_work())
        if isinstance(system, CustomerSystem):
            idle = idle and not system.unanswered()
        datasets = [name for name, _ in found]
        told = {"datasets": datasets, "origin": str(system.origin), "idle": idle}
        told["owns"] = self._owns()
        return pack(told, [batch for _, batch in found])

    # ---- operating

    def unready(self) -> str:
        """Why it is not ready for whoever turns to it; empty if it is."""
        if self.draining:
            return "it is being drained"
        leases, name = self._process.assignment.leases, self._system.name
        if isinstance(self._system, StreetSystem) and name not in leases:
            return "nobody executes for its symbols: no lease is known; are all servers up?"
        return self._system.down or ""

    def figures(self) -> Figures:
        """How it is, in figures."""
        found: Figures = {}
        found["records"] = {
            f"{dataset}/{origin(code)}": log.count
            for dataset, table in self._system.tables.items()
            for code, log in list(table.logs.items())
        }
        found |= behind(self._system, dict(self._held), self._process.runtime.readers)
        if isinstance(self._system, CustomerSystem):
            found["acknowledged"], found["resent"] = self.acknowledged, self._process.runtime.resent
            found["unanswered"] = self._unanswered()
        elif isinstance(self._system, StreetSystem):
            found["lease"] = dict.fromkeys(self._owns(), 1)
        return found

    def _owns(self) -> list[str]:
        leases = self._process.assignment.leases.copy().items()
        return [home for home, lease in leases if lease.owner == self._system.name]

    async def drain(self, give_up: Callable[[], Awaitable[None]]) -> None:
        """Stop without a loss: finish what has begun, and have all who are up hold all of it.

        A customer-facing system takes no more requests, a street-side one gives its leases up.
        """
        self.draining = True
        note("drains")
        while self._entering or self._has_work():  # noqa: ASYNC110 - many things change it
            await asyncio.sleep(0.02)
        await give_up()
        while lacking := self._lacking():
            note("drains", lacking=lacking)
            await asyncio.sleep(0.1)
        note("drained")

    def _has_work(self) -> bool:
        match self._system:
            case CustomerSystem():
                return bool(self._system.outbox().num_rows)
            case StreetSystem() | FirmSystem():
                return self._system.has_work
        return False

    def _lacking(self) -> dict[str, float]:
        """How many records each of those lacks who are up."""
        since = time.monotonic() - UP_S
        up = [peer for peer in self._process.runtime.readers if self._held_at.get(peer, 0) > since]
        told = behind(self._system, self._held, up)["behind_records"]
        assert isinstance(told, dict)
        return {reader: count for reader, count in told.items() if count}


def _batches(frame: pl.DataFrame) -> list[pa.RecordBatch]:
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    found: list[pa.RecordBatch] = table.to_batches()
    return found
