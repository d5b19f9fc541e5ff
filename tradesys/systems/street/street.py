"""A street-side system: executes the orders it is sent, and records what the market did (claim 22).

It repeats an order's terms in every report, so that a peer, which holds those reports as its own
authoritative data, can take the order over.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradesys.records.arrow import Ids, numbered, picked
from tradesys.records.errors import Outcome, StorageError
from tradesys.records.schemas import EXECUTIONS, REPORTS, SEQUENCE_MASK, Kind, RequestType
from tradesys.status.incremental.text_codes import codes_of
from tradesys.systems.street.symbol_assignment import Assignment
from tradesys.systems.system import Place, System
from tradesys.venue import Venue

_NO_IDS = np.zeros(0, np.uint64)


class StreetSystem(System):
    """One of several; each symbol is the business of one of them at a time."""

    kind = Kind.STREET

    def __init__(self, place: Place, *, venue: Venue, assignment: Assignment) -> None:
        self.venue = venue
        self.assignment = assignment
        self._inbox: list[pa.RecordBatch] = []
        self._sent_first: list[Ids] = []
        self._polled = 0
        # What the venue reported before this system was up may be recorded already, here or by a
        # peer; what it reports from now on cannot be.
        self._unsure = venue.reports.count
        super().__init__(place)

    def accept(self, requests: pa.RecordBatch, poss_resend: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take over requests that a customer-facing system sends; :meth:`work` executes them.

        Of one order's requests the order is worked first, whichever came first. Safe to repeat: the
        venue knows a request by its ``record_id``.

        :param poss_resend: they may have been sent before, here or elsewhere (FIX tag 97).
        """
        self._inbox.append(requests)
        if not poss_resend:
            self._sent_first.append(requests["record_id"].to_numpy())

    @property
    def sent(self) -> Ids:
        """The ids of the requests that this system was the first to be sent, since it is up."""
        self._sent_first = [np.concatenate([_NO_IDS, *self._sent_first])]
        return self._sent_first[0]

    def work(self) -> int:
        """Send what has come in to the venue, and record what it reports; gives how many records.

        A report is durable here before anybody else can see it.
        """
        self.flush()
        if self._inbox:
            requests = pa.concat_batches(self._inbox)
            ready = self._ready(requests)
            self.venue.send(picked(requests, ready))
            # Only now: what the venue did not take is sent again.
            self._inbox = [] if ready.all() else [picked(requests, ~ready)]
        recorded = 0
        while (reports := self.venue.poll(self._polled)) is not None:
            recorded += self._record(reports)
        return recorded

    def _record(self, reports: pa.RecordBatch) -> int:
        """Record those of the next reports that are this system's business; gives how many."""
        mine, end = self._mine(reports), self._polled + reports.num_rows
        if mine.num_rows:
            executions = self._executions(mine)
            # What is polled again after an interrupt may be recorded already.
            unsure, self._unsure = self._unsure, max(self._unsure, end)
            try:
                self.commit("executions", executions)
            except StorageError as error:
                if error.outcome is Outcome.DID_NOT_HAPPEN:
                    self._unsure = unsure
                raise
            self._polled, self._unsure = end, unsure
        self._polled = end
        return mine.num_rows

    def take_over(self) -> None:
        """Symbols of others have become one's own: what the market reported is looked at again.

        Whatever of it is not held here is recorded, as a possible duplicate: the system whose
        business it was may have recorded it and told nobody yet.
        """
        self._unsure = self.venue.reports.count
        reported = self.venue.reports.since(0)
        if reported is not None:
            with self.lock:
                missed = np.flatnonzero(~self.view.seen(reported["record_id"].to_numpy()))
            self._polled = min([self._polled, *missed[:1].tolist()])

    def forget_waiting(self) -> None:
        """Forget changes that wait for an order that does not come; it may be lost.

        Whoever has them, and hears no answer, sends them again.
        """
        self._inbox = []

    @property
    def has_work(self) -> bool:
        """Whether requests wait to be worked here, or reports of the market to be recorded."""
        return bool(self._inbox) or self._polled < self.venue.reported

    def _ready(self, requests: pa.RecordBatch) -> NDArray[np.bool_]:
        """Which requests can be worked: a change of an order waits until the order has come.

        A change may overtake its order, where it comes by another customer-facing system. The order
        has come when the venue has it, or it stands before the change. What waits may be lost with
        the process: whoever sent it sends again what is not answered. One of an order that nobody
        knows is about itself, and waits for none.
        """
        is_new = pc.equal(requests["request_type"], RequestType.NEW.value)
        is_new, order_ids = is_new.to_numpy(zero_copy_only=False), requests["order_id"].to_numpy()
        changed = order_ids[~is_new]
        come = set(changed[self.venue.has_taken(changed)].tolist())
        ready, enters_itself = [], is_new | (order_ids == requests["record_id"].to_numpy())
        for order_id, enters in zip(order_ids.tolist(), enters_itself.tolist(), strict=True):
            if enters:
                come.add(order_id)
            ready.append(order_id in come)
        return np.array(ready, np.bool_)

    def _mine(self, reports: pa.RecordBatch) -> pa.RecordBatch:
        """The reports on symbols that are this system's business, and not recorded yet."""
        street_for = self.assignment.street_for
        wanted = codes_of(reports["symbol"], lambda symbol: street_for(symbol) == self.name) > 0
        if self._polled < self._unsure:
            with self.lock:
                wanted &= ~self.view.seen(reports["record_id"].to_numpy())
        return picked(reports, wanted)

    def _executions(self, reports: pa.RecordBatch) -> pa.RecordBatch:
        columns = dict(zip(REPORTS.names, reports.columns, strict=True))
        columns |= {
            "exec_id": columns.pop("record_id"),
            "transact_time": columns.pop("ts"),
            "venue": pa.repeat(self.venue.name, reports.num_rows),
            "poss_dup": pa.array(self._poss_dup(reports)),
        }
        return numbered(EXECUTIONS, self.next_id("executions"), self.clock(), columns)

    def _poss_dup(self, reports: pa.RecordBatch) -> NDArray[np.bool_]:
        """Which reports another system may have recorded too (FIX PossDupFlag).

        Those from before this system was up or took over, and all that it records as a stand-in:
        the home of the symbol may be up and only unheard of.
        """
        home = self.assignment.home
        away = codes_of(reports["symbol"], lambda symbol: home(symbol) != self.name) > 0
        sequences = reports["record_id"].to_numpy() & np.uint64(SEQUENCE_MASK)
        return away | (sequences < self._unsure)
