"""The market's gateway: the one process that is connected to the market, and what asks it.

To street-side systems on other machines the market is a :class:`RemoteVenue`: it is sent requests,
and its reports are followed by position, as any log.
"""

import asyncio
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.cluster.broker import Access, connected, serve
from tradesys.cluster.message_encoding import pack, unpack
from tradesys.cluster.metrics import Figures
from tradesys.cluster.structured_log import note
from tradesys.log.disk import write_whole
from tradesys.log.log import Log
from tradesys.network.manifest import locked
from tradesys.records.arrow import Ids, picked
from tradesys.records.clock import wall_clock
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import REPORTS, Kind, Origin
from tradesys.status.incremental.rows import IdSet
from tradesys.status.incremental.text_codes import codes_of
from tradesys.venue import VenueFactory

ROWS = 5_000
"""So many reports at most are told at once."""

Ask = Callable[[str, bytes], bytes]
"""Asks the gateway one thing, from any thread but the event loop's, and waits for the answer."""

Epoch = Callable[[str], tuple[str, int] | None]
"""Of a symbol that one may act in now, whose it is at home, and the epoch of the lease."""


class Gateway:
    """Answers for a market that runs in this process, over the broker.

    It counts the epochs of the symbols of each home, and refuses orders of an earlier one than the
    last: whoever sends them has slept, and another has taken over.
    """

    def __init__(self, access: Access, make: VenueFactory, folder: Path) -> None:
        self.access, self.make, self.folder = access, make, folder
        self.ready, self._stop = asyncio.Event(), asyncio.Event()
        self.refused = 0
        """How often requests were refused whose sender no longer has the lease."""

    def unready(self) -> str:
        """Why it is not ready for whoever turns to it; empty if it is."""
        if not self.ready.is_set():
            return "it is starting"
        return "" if self.broker.is_connected else "no server of the broker can be reached"

    def figures(self) -> Figures:
        """How it is, in figures."""
        reported = self.venue.reported if self.ready.is_set() else 0
        free = shutil.disk_usage(self.folder).free
        refused = {"late": self.refused}
        return {"reported": reported, "refused": refused, "disk_free_bytes": free}

    async def run(self) -> None:
        """Answer until :meth:`stop`; then close, with everything durable."""
        with locked(self.folder / "venue"):
            await self._run()

    async def _run(self) -> None:
        self._turn = asyncio.Lock()
        self.venue = await asyncio.to_thread(self.make, clock=wall_clock, folder=self.folder)
        self._fences = self.folder / "venue" / "fences.json"
        self._epochs: dict[str, int] = {}
        if self._fences.exists():
            self._epochs = json.loads(self._fences.read_text(encoding="utf-8"))
        self.broker = await connected(self.access, "market")
        try:
            await serve(self.broker, "market.*.*", self._asked)
            await self.broker.flush()
            self.ready.set()
            await self._stop.wait()
        finally:
            await self.broker.close()
            self.venue.close()

    def stop(self) -> None:
        """Have :meth:`run` end, from its own thread."""
        self._stop.set()

    async def _asked(self, _: str, verb: str, data: bytes) -> bytes:
        told, batches = unpack(data)
        before = self.venue.reported
        async with self._turn:
            answer = await asyncio.to_thread(self._answer, verb, told, batches)
        if self.venue.reported > before:
            await self.broker.publish("market.news", str(self.venue.reported).encode())
        return answer

    def _answer(self, verb: str, told: dict[str, Any], batches: list[pa.RecordBatch]) -> bytes:
        venue = self.venue
        match verb:
            case "fence":
                return pack({"epoch": self._raise(told["home"])}, [])
            case "send":
                late = [h for h, epoch in told["epochs"].items() if epoch < self._epochs.get(h, 0)]
                if not late:  # no market is relied on to know a request that it is sent again
                    again = venue.has_taken(batches[0]["record_id"].to_numpy())
                    venue.send(picked(batches[0], ~again))
                else:
                    self.refused += 1
                    note("refused", logging.WARNING, reason="late", homes=late)
                return self._reports(told["position"], late)
            case "poll":
                return self._reports(told["position"])
            case "taken":
                ids = batches[0]["record_id"].to_numpy()
                return pack({"taken": venue.has_taken(ids).tolist()}, [])
            case "figures":
                return pack({"unready": self.unready(), "figures": self.figures()}, [])
            case _:
                raise InvalidValue("verb", verb, "fence, send, poll, taken or figures")

    def _reports(self, position: int, late: Sequence[str] = ()) -> bytes:
        """What was reported from a position on, or the first of it."""
        reports = self.venue.poll(position)
        found = [] if reports is None else [reports.slice(0, ROWS)]
        told = {"reported": self.venue.reported, "name": self.venue.name, "late": late}
        return pack(told, found)

    def _raise(self, home: str) -> int:
        """Begin a new epoch; earlier ones are refused, also after this process has ended."""
        self._epochs[home] = self._epochs.get(home, 0) + 1
        write_whole(self._fences, json.dumps(self._epochs).encode())
        return self._epochs[home]


class RemoteVenue:
    """The market as a street-side system on another machine has it.

    It stands where a :class:`~tradesys.venue.market.Venue` does.

    :raises SystemDown: the gateway does not answer; nothing is known to have happened.
    """

    names_are_once = True

    def __init__(
        self, ask: Ask, epoch: Epoch | None = None, lost: Callable[[str], object] = str
    ) -> None:
        self._ask, self._epoch, self._lost = ask, epoch, lost
        self._log = Log(Origin(Kind.VENUE).code, REPORTS)
        self._taken = IdSet()
        self._told = 0
        self.name = ""
        self._fetch()

    def heard(self, reported: int) -> None:
        """The gateway says how many events were reported."""
        self._told = max(self._told, reported)

    @property
    def reported(self) -> int:
        """How many events were reported, as far as has been heard."""
        return max(self._told, self._log.count)

    @property
    def reports(self) -> Log:
        """Everything that was reported."""
        self._fetch()
        return self._log

    def send(self, requests: pa.RecordBatch) -> None:
        """Send requests, in their order; the market takes each once.

        Those in symbols that are another's business are left out: who sent them does so again.
        """
        epochs: dict[str, int] = {}

        def is_own(symbol: str) -> int:
            lease = self._epoch(symbol) if self._epoch else (symbol, 0)
            if lease:
                epochs[lease[0]] = lease[1]
            return bool(lease)

        own = picked(requests, codes_of(requests["symbol"], is_own) > 0)
        if own.num_rows:
            for home in self._follow("send", {"epochs": epochs}, [own])["late"]:
                self._lost(home)  # another has begun an epoch since

    def poll(self, position: int) -> pa.RecordBatch | None:
        """The reports from ``position`` on, or the first of them; None when there are none."""
        if self._log.count < self.reported:
            self._fetch()
        return self._log.since(position, ROWS)

    def has_taken(self, request_ids: Ids) -> NDArray[np.bool_]:
        """Which of these requests it was sent before."""
        taken = self._taken.has(request_ids)
        if not taken.all():
            asked = pa.RecordBatch.from_arrays([pa.array(request_ids)], ["record_id"])
            told, _ = unpack(self._ask("taken", pack({}, [asked])))
            taken = np.array(told["taken"], np.bool_)
        return taken

    def _fetch(self) -> None:
        """Follow what was reported, to its end."""
        self._follow("poll", {}, [])
        while self._log.count < self.reported:
            self._follow("poll", {}, [])

    def _follow(self, verb: str, asked: dict[str, Any], batches: list[pa.RecordBatch]) -> Any:
        """Ask something that is answered with what was reported since; gives what was told."""
        asked["position"] = self._log.count
        told, reports = unpack(self._ask(verb, pack(asked, batches)))
        for batch in reports:
            self._log.append(batch)
            self._taken.add(batch["request_id"].to_numpy())
        self.name = told["name"]
        self.heard(told["reported"])
        return told
