"""Readers of real order flow, each of which turns one format into a tape."""

import datetime as dt

from tradesys.records import argument_checks as given
from tradesys.venue.tapes import lobster
from tradesys.venue.tapes.tape import ACCOUNTS, Source, Tape, account, entry_system, mixed

FORMATS = ("lobster",)
"""The formats that :func:`read` knows."""


def read(
    path: Source,
    *,
    format: str = "lobster",
    date: dt.date | str | None = None,
    accounts: int = ACCOUNTS,
) -> Tape:
    """Read a tape: ``path`` is a file, a folder of files, or several files.

    ``date`` (a date, or text like ``"2024-06-03"``) is the trading day where the files do not say
    it. ``accounts`` is the number of accounts that :func:`account` spreads the orders over.

    :raises InvalidValue: an unknown format, no file to read, or a value that the format forbids.
    :raises SchemaError: a file that is not in the format at all.
    """
    given.one_of("format", format, FORMATS)
    return lobster.read(path, date=date, accounts=accounts)


__all__ = ["ACCOUNTS", "FORMATS", "Source", "Tape", "account", "entry_system", "mixed", "read"]
