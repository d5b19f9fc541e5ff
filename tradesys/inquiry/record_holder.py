"""Who holds records: its tables, and what follows from them, kept up to date when it is asked."""

from threading import RLock

import pyarrow as pa

from tradesys.log.ctrl_c import uninterrupted
from tradesys.log.offsets import Cursor
from tradesys.log.table import Table
from tradesys.records.errors import SystemDown
from tradesys.records.schemas import Kind, Origin
from tradesys.status.incremental.view import View
from tradesys.status.reference_data import Reference


class RecordHolder:
    """Tables, and the view of orders and balances that follows from the records in them.

    ``lock`` is of the memory, and held for moments. ``news`` says whether records have come since
    the last question, ``own_news`` whether one's own rows alone have; ``down`` why nothing more is
    taken; ``heard`` as whom other systems went on last.
    """

    kind: Kind
    name: str
    origin: Origin
    tables: dict[str, Table]
    lock: RLock
    news: bool
    own_news: bool
    down: str | None
    crashed: bool
    heard: dict[str, Origin]

    def _begin_following(self) -> None:
        """Begin anew to follow the records held: none has been taken in."""
        self._reference = Reference()
        self._followed = Cursor(self.tables)
        self._view = self._empty_view()
        self._is_torn = False

    def _empty_view(self) -> View:
        return View()

    @property
    def view(self) -> View:
        """Orders and balances, from all that is held now; to be asked under the lock."""
        if self.news or self.own_news or self._view.is_torn:
            self.catch_up()
        return self._view

    @property
    def reference(self) -> Reference:
        """Accounts and instruments, from all that is held now."""
        if self.news:
            self.catch_up()
        return self._reference

    @property
    def unviewed(self) -> int:
        """How many records have come since the last question that the view was asked."""
        return self._followed.waiting

    def catch_up(self) -> None:
        """Take in what has become part of the tables since the last question, by position.

        What an interrupt has torn is made anew from the records.
        """
        with uninterrupted(), self.lock:
            self.require_running()
            if self._is_torn or self._view.is_torn:
                self._begin_following()
            self._is_torn = True
            for dataset, batch in self._followed.read():
                self.applied(dataset, batch)
            self._is_torn = self.news = False

    def applied(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Called once with each run of records, in no particular order, before a question."""
        if dataset in ("accounts", "instruments"):
            self._reference.apply(dataset, batch)
        self._view.apply(dataset, batch)

    def wrote(self, code: int) -> bool:
        """Whether the origin with this 16-bit code is this system, in any incarnation."""
        return code >> 8 == self.origin.code >> 8

    def require_running(self) -> None:
        """Refuse to answer from a memory that is gone.

        :raises SystemDown: it has crashed.
        """
        if self.crashed:
            raise SystemDown(f"{self.name} is down: {self.down}")
