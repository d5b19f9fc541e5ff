"""A broker's order handling, split into systems that keep working while others are down.

:class:`Network` is a whole network in one process, and most of what is needed is here. Behind it
are rooms, each of which uses only those before it:

- :mod:`tradesys.records`: what is written
- :mod:`tradesys.routes`: who writes it, and where it is replicated to
- :mod:`tradesys.log`: where it is kept
- :mod:`tradesys.status`: what follows from it
- :mod:`tradesys.inquiry`: what customers are told
- :mod:`tradesys.venue`: the market outside
- :mod:`tradesys.systems`: the three kinds of system, :mod:`tradesys.systems.customer`,
  :mod:`tradesys.systems.street` and :mod:`tradesys.systems.firm`
- :mod:`tradesys.replication`: how records reach the other systems, and what a system does by
  itself (:mod:`tradesys.replication.runtime`), told the time
- :mod:`tradesys.audit`: what must hold over all systems
- :mod:`tradesys.network`: a whole network in one process
- :mod:`tradesys.simulation`: the same systems under virtual time, with faults
- :mod:`tradesys.cluster`: the same systems as processes on many machines, to which
  :func:`connect` connects
- :mod:`tradesys.analytics`: the market of a run or a tape, and how well orders did in it
- :mod:`tradesys.widgets`: the desk, pictures, sweeps
- :mod:`tradesys.cli`: the command line
"""

from tradesys.audit.audit import Audit, Check
from tradesys.cluster import connect
from tradesys.inquiry.answers import Answer, Order
from tradesys.network import Network
from tradesys.records.clock import ManualClock
from tradesys.records.errors import (
    Busy,
    DamagedError,
    GapError,
    InvalidValue,
    NotYetReplicated,
    Outcome,
    ReadOnlyError,
    SchemaError,
    StorageError,
    SystemDown,
    TradesysError,
)
from tradesys.records.formatting import readable
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import ExecType, OrdStatus, OrdType, RequestType, Side, TimeInForce
from tradesys.venue import BookVenue, TapeVenue
from tradesys.venue.tapes import inspect

__all__ = [
    "Answer",
    "Audit",
    "BookVenue",
    "Busy",
    "Check",
    "DamagedError",
    "ExecType",
    "GapError",
    "InvalidValue",
    "ManualClock",
    "Network",
    "NotYetReplicated",
    "OpeningBooks",
    "OrdStatus",
    "OrdType",
    "Order",
    "Outcome",
    "ReadOnlyError",
    "RequestType",
    "SchemaError",
    "Side",
    "StorageError",
    "SystemDown",
    "TapeVenue",
    "TimeInForce",
    "TradesysError",
    "connect",
    "inspect",
    "readable",
]
