"""What an operator asks a cluster for: how it is, that a system is drained, that one is added."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from nats.aio.client import Client

from tradesys.cluster import layout as layouts
from tradesys.cluster.broker import PATIENCE, ask, connected
from tradesys.cluster.layout import MARKET, OPERATOR, Layout
from tradesys.cluster.message_encoding import pack, unpack
from tradesys.records.errors import InvalidValue, Outcome, SystemDown
from tradesys.records.schemas import Kind

T = TypeVar("T")
Told = dict[str, dict[str, Any]]
"""Of each process, by name: ``up``, why it is ``unready`` (if it is), and its ``figures``."""

DRAINED_S = 120.0
"""For so long the drain of a system is waited for, in s."""


async def look(broker: Client, layout: Layout) -> Told:
    """How each process is, by its own word.

    How far a system is behind is what those say who write for it, so far as they are up.
    """

    async def one(name: str) -> dict[str, Any]:
        subject = "market.desk.figures" if name == MARKET else f"ask.{name}.figures"
        try:
            told, _ = unpack(await ask(broker, subject, pack({}, []), patience=2.0))
        except SystemDown:
            return {"up": False, "unready": "it does not answer", "figures": {}}
        return {"up": True, **told}

    names = [*layouts.names(layout)]
    found = dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))
    for reader, told in found.items():
        said = [each["figures"] for each in found.values()]
        told["behind_records"] = sum(f.get("behind_records", {}).get(reader, 0) for f in said)
        told["behind_seconds"] = max(f.get("behind_seconds", {}).get(reader, 0) for f in said)
    return found


@asynccontextmanager
async def operator(layout: Layout) -> AsyncIterator[Client]:
    """A connection as the operator.

    :raises SystemDown: no server answers.
    """
    broker = await connected(layout.access(OPERATOR), OPERATOR, PATIENCE)
    try:
        yield broker
    finally:
        await broker.close()


def _asked(layout: Layout, act: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        async with operator(layout) as broker:
            return await act(broker)

    with ThreadPoolExecutor(1) as thread:  # a notebook's own has an event loop already
        return thread.submit(asyncio.run, run()).result()


def status(layout: Layout) -> Told:
    """How each process of a cluster is; see :func:`look`."""
    return _asked(layout, lambda broker: look(broker, layout))


def drain(layout: Layout, name: str) -> None:
    """Have a system stop without a loss; it ends once all who are up hold what it wrote.

    :raises SystemDown: it does not answer; if it was asked, it may be draining.
    """
    layout.manifest.require(name)
    _asked(layout, lambda broker: ask(broker, f"ask.{name}.drain", pack({}, []), DRAINED_S))


async def _meet(broker: Client, name: str) -> None:
    """Have a system read its folder anew; again, for servers that reload cut connections."""
    for patience in (1.0, 2.0, 4.0):
        try:
            await ask(broker, f"ask.{name}.meet", pack({}, []), patience)
        except SystemDown as error:
            problem = error
        else:
            return
    raise problem


def add(layout: Layout, kind: Kind) -> tuple[Layout, str, list[str]]:
    """Add a customer-facing or a street-side system to a cluster that runs, and to its folder.

    First the servers let it in, then every system learns of it; only then may it be started. Until
    all have, a symbol may be taken to be of two homes; so whoever is down must be up again first.

    :returns: the layout with it, its name, and the servers that have been reloaded.
    :raises SystemDown: a system does not answer; nothing was added, or it may be started anew.
    """

    async def act(broker: Client) -> tuple[Layout, str, list[str]]:
        silent = [name for name, told in (await look(broker, layout)).items() if not told["up"]]
        if silent:
            raise SystemDown(f"{', '.join(silent)} must answer first; nothing was added")
        grown, name = layouts.add(layout, kind)
        reloaded = layouts.reload(grown)
        old = [origin.system for origin in layout.manifest.origins]
        answers = await asyncio.gather(*(_meet(broker, e) for e in old), return_exceptions=True)
        for each, answer in zip(old, answers, strict=True):
            if isinstance(answer, BaseException):
                wrong = f"{each} does not know of {name}: {answer}; restart {each}, then start it"
                raise SystemDown(wrong, outcome=Outcome.MIGHT_HAVE) from answer
        return grown, name, reloaded

    if kind not in (Kind.CUSTOMER, Kind.STREET):
        raise InvalidValue("kind", kind, "customer or street")
    return _asked(layout, act)
