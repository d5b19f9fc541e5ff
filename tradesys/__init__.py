"""A broker's order handling, split into systems that keep working while others are down."""

from tradesys.audit import Audit, Check
from tradesys.charter import OpeningBooks
from tradesys.clock import ManualClock
from tradesys.errors import (
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
from tradesys.network import Network
from tradesys.orders import Answer, Order
from tradesys.readable import readable
from tradesys.records import ExecType, OrdStatus, OrdType, RequestType, Side, TimeInForce
from tradesys.venue import BookVenue, TapeVenue

__all__ = [
    "Answer",
    "Audit",
    "BookVenue",
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
    "readable",
]
