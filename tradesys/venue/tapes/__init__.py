"""Readers of real order flow: recognised by its content, and read some events at a time."""

from tradesys.venue.tapes.inspection import Inspection, inspect
from tradesys.venue.tapes.stream import FORMATS, TapeStream, open_tape, read
from tradesys.venue.tapes.tape import (
    ACCOUNTS,
    Part,
    Source,
    Tape,
    account,
    entry_system,
    mixed,
)

__all__ = [
    "ACCOUNTS",
    "FORMATS",
    "Inspection",
    "Part",
    "Source",
    "Tape",
    "TapeStream",
    "account",
    "entry_system",
    "inspect",
    "mixed",
    "open_tape",
    "read",
]
