"""Whose business each symbol is, in a cluster: leases, one for each street-side system's symbols.

A lease is an entry of JetStream's key-value store, changed by compare-and-set only. Who holds one
acts for a while after each renewal; another takes it over once it has seen no renewal for longer
than that. Nobody's clock is compared with another's. An owner that slept is kept out by the fence:
whoever takes a lease begins an epoch at the market's gateway, which refuses what is of an earlier
one. The gateway counts epochs, and not the broker, whose store may be lost.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

from nats.aio.client import Client
from nats.errors import Error as BrokerError
from nats.js.errors import Error as StoreError
from nats.js.errors import (
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NoStreamResponseError,
    NotFoundError,
)
from nats.js.kv import KeyValue

from tradesys.cluster.structured_log import note
from tradesys.records.errors import SystemDown
from tradesys.systems.street.symbol_assignment import Assignment

BUCKET = "leases"
TTL = 2.0
"""So many seconds after its last renewal an owner may act."""
MARGIN = 1.0
"""So many seconds longer others wait."""


class Lease(NamedTuple):
    """A lease as it was last seen.

    ``epoch`` is the one that its owner has begun, which the owner alone knows; ``since`` says when
    it was renewed, or seen to be.
    """

    owner: str
    epoch: int
    revision: int
    since: float


class HomeAssignment(Assignment):
    """Which street-side system each symbol is the business of, where one stands in for a home.

    All symbols of a home that is down go to the same system, since its lease is one.
    """

    def street_for(self, symbol: str) -> str:
        """The home of a symbol if it is up, or who stands in for it."""
        return self.stand_in(self.home(symbol))

    def stand_in(self, home: str) -> str:
        """Who executes the symbols of a home now: itself, if it is up or nobody else is."""
        return home if home in self.up or not self.up else super().street_for(home)


class LeasedAssignment(HomeAssignment):
    """Which street-side system each symbol is the business of, as leases say."""

    def __init__(self, streets: Sequence[str]) -> None:
        super().__init__(streets)
        self.leases: dict[str, Lease] = {}

    def see(self, up: Collection[str]) -> bool:
        """Note who is up: it changes nobody's business here."""
        self.up = frozenset(up)
        return False

    def street_for(self, symbol: str) -> str:
        """Who holds the lease of the symbol's home; the home itself, where none is known."""
        home = self.home(symbol)
        lease = self.leases.get(home)
        return lease.owner if lease else home

    def epoch(self, symbol: str, owner: str) -> tuple[str, int] | None:
        """The lease that lets somebody act in a symbol now, and its epoch; None if none does."""
        home = self.home(symbol)
        lease = self.leases.get(home)
        if not lease or lease.owner != owner or time.monotonic() > lease.since + TTL:
            return None
        return home, lease.epoch


async def store_of(broker: Client, replicas: int) -> KeyValue:
    """The store of the leases, made by whoever comes first."""
    stream = broker.jetstream()
    try:
        return await stream.key_value(BUCKET)
    except NotFoundError:
        return await stream.create_key_value(bucket=BUCKET, replicas=replicas, history=1)


class Leasing:
    """One street-side system's part in it; :meth:`look` is called a few times within each TTL.

    :param open_store: gives the store of the leases, anew where it was lost.
    :param fence: begins an epoch of a lease, which keeps out whoever had it before.
    :param taken: is told once it is one's own.
    """

    def __init__(
        self,
        name: str,
        assignment: LeasedAssignment,
        open_store: Callable[[], Awaitable[KeyValue]],
        fence: Callable[[str], Awaitable[int]],
        taken: Callable[[], Awaitable[None]],
    ) -> None:
        self.name, self.assignment = name, assignment
        self._fence, self._taken = fence, taken
        self._open_store = open_store
        self._store: KeyValue | None = None
        self._turn, self._gave_up = asyncio.Lock(), False
        self.wait()

    def wait(self) -> None:
        """Leave leases that nobody has held yet to those whose symbols they are, for a while."""
        self._began = time.monotonic()

    async def look(self, streets: Sequence[str]) -> None:
        """Renew one's own leases, and take those that nobody renews."""
        async with self._turn:
            if not self._gave_up:
                await self._look(streets)

    async def _look(self, streets: Sequence[str]) -> None:
        try:
            self._store = self._store or await self._open_store()
            for home in streets:
                await self._look_at(self._store, home)
        except (NotFoundError, NoStreamResponseError):  # it may be lost: nobody acts on it
            self.assignment.leases.clear()
            self.wait()
            self._store = None
        except (BrokerError, StoreError, TimeoutError, SystemDown):
            pass  # servers or the market are away: leases run out by themselves

    async def _look_at(self, store: KeyValue, home: str) -> None:
        leases, now = self.assignment.leases, time.monotonic()
        known = leases.get(home)
        if known and known.owner == self.name and await self._keep(home, known):
            return
        is_next = self.name in (home, self.assignment.stand_in(home))
        try:
            entry = await store.get(home)
        except KeyNotFoundError:
            # Of others' symbols only once they have had the time to ask for them.
            if is_next and (home == self.name or now > self._began + TTL + MARGIN):
                await self._take(home, 0)
            return
        owner, revision = json.loads(entry.value or b"{}")["owner"], entry.revision or 0
        is_own = owner == self.name
        if is_own and known and known.owner == owner:  # it was renewed, and the answer was lost
            leases[home] = known._replace(revision=revision)
        elif is_own or (is_next and not owner):
            await self._take(home, revision)
        elif not known or (known.owner, known.revision) != (owner, revision):
            leases[home] = Lease(owner, 0, revision, now)
            if known and known.owner == self.name:
                note("lease lost", home=home, owner=owner)
        elif is_next and now > known.since + TTL + MARGIN:
            await self._take(home, revision)

    async def _keep(self, home: str, own: Lease) -> bool:
        """Renew a lease of one's own, or give it back; whether it was still one's own."""
        leases, now = self.assignment.leases, time.monotonic()
        if home != self.name and home in self.assignment.up:  # who was stood in for is back
            del leases[home]
            await self._set(home, own.revision, owner="")
            note("lease given back", home=home)
            return True
        revision = await self._set(home, own.revision)
        if revision:
            leases[home] = own._replace(revision=revision, since=now)
        return bool(revision)

    async def give_up(self) -> None:
        """Leave one's leases to whoever looks next, and take none any more."""
        self._gave_up = True
        async with self._turn:
            for home, lease in list(self.assignment.leases.items()):
                if lease.owner == self.name:
                    del self.assignment.leases[home]
                    note("lease given up", home=home)
                    with suppress(BrokerError, TimeoutError):
                        await self._set(home, lease.revision, owner="")

    async def _take(self, home: str, before: int) -> None:
        now = time.monotonic()
        revision = await self._set(home, before)
        if revision:
            epoch = await self._fence(home)
            self.assignment.leases[home] = Lease(self.name, epoch, revision, now)
            note("lease taken", home=home, epoch=epoch)
            await self._taken()  # only now: what is looked at again is one's own

    async def _set(self, home: str, revision: int, owner: str | None = None) -> int | None:
        """Write an owner, unless somebody has written since; gives the new revision."""
        value = json.dumps({"owner": self.name if owner is None else owner}).encode()
        with suppress(KeyWrongLastSequenceError):
            if self._store:
                return await self._store.update(home, value, last=revision)
        return None
