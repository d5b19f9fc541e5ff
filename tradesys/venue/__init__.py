"""The market outside, behind one interface: simulated, a recorded tape, or a FIX log."""

from functools import partial
from pathlib import Path
from typing import Protocol

from tradesys.records.clock import Clock
from tradesys.records.errors import InvalidValue
from tradesys.records.trading_calendar import EXCHANGE, Calendar
from tradesys.venue.book_market import BookVenue
from tradesys.venue.fix_market import FixVenue
from tradesys.venue.market import Venue
from tradesys.venue.tape_market import TapeVenue

__all__ = [
    "BookVenue",
    "FixVenue",
    "TapeVenue",
    "Venue",
    "VenueFactory",
    "calendar_of",
    "has_own_time",
    "kind_of",
    "venue_of",
]


class VenueFactory(Protocol):
    """Makes the market outside: :class:`BookVenue`, or a ``partial`` of :class:`TapeVenue`."""

    def __call__(self, *, clock: Clock, folder: Path | None) -> Venue:
        """A venue that keeps its record under ``folder``, in memory without one."""
        ...


def kind_of(venue: VenueFactory) -> str:
    """The kind of market that a factory makes; one of one's own is called by its name.

    A calendar that is not that of the exchange is a part of it: ``book 24/7``.
    """
    maker = getattr(venue, "func", venue)
    kind = str(getattr(maker, "kind", getattr(maker, "__name__", type(maker).__name__)))
    calendar = getattr(venue, "keywords", {}).get("calendar", EXCHANGE)
    return kind if calendar == EXCHANGE else f"{kind} {calendar}"


def calendar_of(kind: str) -> Calendar:
    """Whose trading days are those of a market of this kind."""
    _, _, code = kind.partition(" ")
    return Calendar(code or EXCHANGE)


def has_own_time(kind: str) -> bool:
    """Whether a market of this kind was recorded, and so has a time of its own."""
    return kind.partition(" ")[0] in (TapeVenue.kind, FixVenue.kind)


def venue_of(kind: str) -> VenueFactory:
    """What opens a market of this kind again: an order book, or a tape or log that is over.

    :raises InvalidValue: it is one of somebody's own.
    """
    name, _, calendar = kind.partition(" ")
    for known in (BookVenue, FixVenue, TapeVenue):
        if known.kind == name:
            return partial(known, calendar=calendar) if calendar else known
    raise InvalidValue("venue", None, f"what makes the market of this folder: {kind}")
