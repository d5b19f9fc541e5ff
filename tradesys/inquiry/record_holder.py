"""Who holds records: its tables, and what follows from them, kept up to date when it is asked."""

from functools import partial
from threading import RLock

import polars as pl
import pyarrow as pa

from tradesys.inquiry import sql as queries
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

    def sql(self, query: str) -> pl.DataFrame:
        """The result of an SQL query over the records held here, and over answers if it gives any.

        Tables are the datasets that the system holds, as :attr:`tradesys.log.table.Table.frame` has
        them, with ``received_at``; who answers inquiries has ``orders``, ``fills`` and
        ``positions`` as well. All are of one moment, and no record is copied. The dialect is
        polars' (:class:`polars.SQLContext`).

        ``c1.sql("select symbol, sum(last_qty) as shares from fills group by symbol")``

        :returns: ids as uint64, prices in 1/10,000 of the currency, as in the records.
        :raises InvalidValue: a table or a column is not there, or it is no query; the message says
            what there is.
        """
        with self.lock:
            self.require_running()
            relations = self._relations()
            frames = queries.named(query, relations)
        return queries.run(query, frames, relations)

    def _relations(self) -> queries.Relations:
        """What can be asked for in SQL: the datasets held."""
        return {name: partial(getattr, table, "frame") for name, table in self.tables.items()}

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
