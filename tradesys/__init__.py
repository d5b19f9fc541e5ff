"""A broker's order handling, split into systems that keep working while others are down."""

from tradesys.audit.audit import Audit, Check
from tradesys.inquiry.answers import Answer, Order
from tradesys.network import Network
from tradesys.records.clock import ManualClock
from tradesys.records.errors import (
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
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.readable import readable
from tradesys.records.schemas import ExecType, OrdStatus, OrdType, RequestType, Side, TimeInForce
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
