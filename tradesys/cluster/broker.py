"""The connection to the broker, and questions that are answered with a value or an error."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport
from nats.errors import Error as BrokerError
from nats.errors import NoRespondersError

from tradesys.cluster.message_encoding import pack, unpack
from tradesys.records import errors
from tradesys.records.errors import Outcome, SystemDown, TradesysError

# A secure connection that ends says so, to nobody's use, on the terminal of whoever asked.
logging.getLogger("asyncio").addFilter(lambda said: "eof_received" not in said.getMessage())

PATIENCE = 5.0
"""How many seconds an answer is waited for: longer than it takes to leave a silent server."""


class Access(NamedTuple):
    """Where the broker is, and who asks: what a client of the broker is given."""

    servers: list[str]
    options: dict[str, Any]


async def connected(access: Access, name: str, patience: float | None = None) -> Client:
    """A connection that comes back by itself, for ever, and says nothing of it meanwhile.

    :param patience: for how many seconds a server is looked for at first; None: for ever.
    :raises SystemDown: none was found.
    """

    async def note(_: Exception) -> None:
        pass

    how: dict[str, Any] = {
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.2,
        "ping_interval": 1,  # a server that says nothing for three of these is left
        "max_outstanding_pings": 2,
        "error_cb": note,
    }
    client = Client()
    client._transport = _Transport()  # type: ignore[no-untyped-call]  # noqa: SLF001
    try:
        connecting = client.connect(access.servers, name=name, **how | access.options)
        await asyncio.wait_for(connecting, patience)
    except TimeoutError as error:
        raise SystemDown(f"no server answers at {', '.join(access.servers)}") from error
    return client


class _Transport(TcpTransport):
    """A connection that is left without the other end's farewell: it may have fallen silent."""

    async def connect(self, *where: Any, **how: Any) -> None:
        if self._bare_io_writer:  # of an attempt that came to nothing
            self._bare_io_writer.transport.abort()
        await super().connect(*where, **how)

    async def wait_closed(self) -> None:
        with suppress(TimeoutError):
            closed: Coroutine[Any, Any, None] = super().wait_closed()  # type: ignore[no-untyped-call]
            await asyncio.wait_for(closed, 1)


async def serve(
    broker: Client, subject: str, act: Callable[[str, str, bytes], Awaitable[bytes]]
) -> None:
    """Answer questions on a subject: each is a task; an error that is foreseen is the answer.

    :param act: is given the last two parts of the subject, and what was asked.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def one(message: Msg) -> None:
        *_, about, verb = message.subject.split(".")
        try:
            answer = await act(about, verb, message.data)
        except Exception as error:  # noqa: BLE001 - it is told to who asked
            answer = _told(error)
        with suppress(BrokerError):
            await message.respond(answer)

    async def heard(message: Msg) -> None:
        task = asyncio.create_task(one(message))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await broker.subscribe(subject, cb=heard)


async def ask(broker: Client, subject: str, data: bytes, patience: float = PATIENCE) -> bytes:
    """Ask, and wait for the answer.

    :raises SystemDown: nobody answers; what was asked for may have happened.
    :raises TradesysError: what the one asked says.
    """
    try:
        answer: bytes = (await broker.request(subject, data, timeout=patience)).data
    except (BrokerError, TimeoutError) as error:
        nobody = isinstance(error, NoRespondersError)
        outcome = Outcome.DID_NOT_HAPPEN if nobody else Outcome.MIGHT_HAVE
        raise SystemDown(
            f"no answer to {subject}: {str(error) or 'in time'}", outcome=outcome
        ) from error
    if answer.startswith(b'{"error"'):
        raise _error(answer)
    return answer


def _told(error: Exception) -> bytes:
    """An error as an answer; of one that nobody foresaw it is not known what has happened."""
    foreseen, given = isinstance(error, TradesysError), None
    if isinstance(error, errors.InvalidValue):
        given = [error.field, str(error.value), error.expected]
    told = {
        "error": type(error).__name__,
        "text": str(error) if foreseen else repr(error),
        "outcome": getattr(error, "outcome", Outcome.MIGHT_HAVE),
        "given": given,
    }
    return pack(told, [])


def _error(answer: bytes) -> TradesysError:
    told, _ = unpack(answer)
    kind = getattr(errors, told["error"], TradesysError)
    found: TradesysError
    if told["given"]:
        found = errors.InvalidValue(*told["given"])
    elif issubclass(kind, errors.DamagedError):
        found = errors.StorageError(told["text"])
    else:
        found = kind(told["text"])
    found.outcome = Outcome(told["outcome"])
    return found
