"""Which order each message of a FIX log is about, and the records that it comes to.

An order is the chain of its names (ClOrdID and OrigClOrdID, tags 11 and 41) within a session, and
of the broker's OrderID (37). A name that is used again on another day is another order's; on the
same day it stays the first one's, and what is refused is the second.
"""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import Kind, Origin, make_id
from tradesys.venue.tapes import fix_codes as fix
from tradesys.venue.tapes.fix_terms import Message, Row, Terms, need, time_of

_Session = frozenset[str]
_Said = tuple[str | None, ...]

_SAME_REQUEST = ("49", "56", "35", "11", "34", "52")
_SAME_REPORT = (
    *("49", "56", "35", "37", "11", "41", "17", "20", "150"),
    *("39", "14", "151", "32", "31"),
)
"""The tags by which a message is known to be there again."""


@dataclass
class _Order:
    """An order: the request whose terms are in force, and what was reported."""

    order_id: int
    request: Row
    terms: Row
    events: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Of each ExecID (17) our own, and the trade that it leads to."""
    traded: dict[str, Decimal] = field(default_factory=dict)
    """Of each trade, by its ExecID, the quantity that stands."""
    changes: list["_Asked"] = field(default_factory=list)
    """The requests to cancel or replace it."""
    told: set[str] = field(default_factory=set)
    """What was ever reported of it."""

    @property
    def cum_qty(self) -> Decimal:
        """What has traded."""
        return sum(self.traded.values(), Decimal(0))

    def note(self, report: Row, request: Row) -> None:
        """Note what a report on this request changes of the order."""
        exec_type = report["exec_type"]
        if exec_type in ("new", "replaced", "restated"):
            self.terms = report
        if exec_type == "replaced":
            self.request = request
        self.told.add(exec_type)


@dataclass
class _Asked:
    """A request by its name: the record, and its order.

    It is ``answered`` once it was ever reported of, ``settled`` once it was done or refused.
    """

    row: Row
    order: _Order
    answered: bool = False
    settled: bool = False


class Orders:
    """The orders of a log, and the records so far: rows whose quantities are decimals."""

    def __init__(self) -> None:
        self.requests: list[Row] = []
        self.executions: list[Row] = []
        self.stated: list[Row] = []
        self.unrecorded: list[Row] = []
        self.ignored: Counter[str] = Counter()
        self.terms = Terms()
        self.repeats = self.unheard = 0
        self._named: dict[tuple[_Session, str | None], list[_Asked]] = {}
        self._by_id: dict[tuple[_Session, str | None], _Order] = {}
        self._seen: set[_Said | tuple[_Said, str]] = set()

    def take(self, line: int, message: Message) -> None:
        """The next message, in this line.

        :raises InvalidValue: it lacks a field, or one holds what no record can; nothing is taken.
        """
        kind = message["35"]
        if kind not in (*fix.REQUEST_TYPES, "8", "9"):
            self.ignored[kind] += 1
            return
        said, at = _identity(message)
        if (said if _is_again(message) else (said, at)) in self._seen:
            self.repeats += 1
        elif kind in fix.REQUEST_TYPES:
            self._request(message)
        else:
            self._report(line, message)
        self._seen |= {said, (said, at)}

    # ---- requests

    def _request(self, message: Message) -> None:
        """A new order, a cancel or a replace. One of an order that is unknown is about none."""
        kind, session = fix.REQUEST_TYPES[message["35"]], _session(message)
        key = session, need(message, "11")
        earlier, ts = self._named.get(key, []), time_of(message, "52", "60")
        if _is_again(message) and any(asked.row["request_type"] == kind for asked in earlier):
            self.repeats += 1
            return
        order = None if kind == "new" else self._order_named(session, message, "41")
        before = order.terms if order else {"account": message.get("49")}
        row = self._entered(message, kind, order, self.terms.stated(message, before))
        if order is None:
            order = _Order(row["record_id"], row, row)
        if earlier and _day(earlier[-1].row["ts"]) != _day(ts):
            earlier = []
        asked = _Asked(row, order)
        self._named[key] = [*earlier, asked]
        if kind != "new":
            order.changes.append(asked)

    def _entered(self, message: Message, kind: str, order: _Order | None, terms: Row) -> Row:
        """The record of a request."""
        record_id = _id(Kind.CUSTOMER, len(self.requests))
        row = {
            "record_id": record_id,
            "ts": time_of(message, "52", "60"),
            "request_type": kind,
            "order_id": order.order_id if order else record_id,
            "cl_ord_id": message.get("11"),
            "orig_cl_ord_id": message.get("41"),
            **terms,
            "reject_reason": None,
        }
        self.requests.append(row)
        return row

    # ---- reports

    def _report(self, line: int, message: Message) -> None:
        """An execution report or a cancel reject: what it says of its order, and what happened."""
        statement = self._statement(line, message)
        known = self._by_id.get((_session(message), message.get("37")))
        try:
            order = self._record(message, statement)
        except InvalidValue:
            if known:
                self.unrecorded.append(statement | self._so_far(known))
            raise
        self.stated.append(statement | self._so_far(order))

    def _so_far(self, order: _Order) -> Row:
        """An order, and how many records there are."""
        taken = {"requests": len(self.requests), "executions": len(self.executions)}
        return {"order_id": order.order_id, **taken}

    def _record(self, message: Message, statement: Row) -> _Order:
        """Record what a report reports, and tell of which order.

        :raises InvalidValue: no record can hold it.
        """
        event = {
            "ts": time_of(message, "52", "60"),
            "transact_time": time_of(message, "60", "52"),
            "cl_ord_id": message.get("11"),
            "orig_cl_ord_id": message.get("41"),
            "text": message.get("58"),
            "venue": message.get("49", ""),
            "poss_dup": message.get("43") == "Y",
        }
        last_qty = self.terms.quantity(message, "32") or Decimal(0)
        last_px = fix.price(message, "31") if "31" in message else 0
        self.terms.require_room("32", last_qty, last_px)
        exec_type = self._exec_type(message)
        asked = _settled(self._answered(message, exec_type), exec_type)
        exec_type = _as_answer(exec_type, asked.row["request_type"])
        if statement["ord_status"] == "pending_cancel" and exec_type == "pending_replace":
            statement["ord_status"] = exec_type
        in_force = asked.row if exec_type == "replaced" else asked.order.terms
        event |= self.terms.stated(message, in_force, reported=True)
        for each in self._events(exec_type, message, asked.order, last_qty):
            row = event | self._numbered(each, message, asked.order, last_qty, last_px)
            row["request_id"] = asked.row["record_id"]
            self.executions.append(row)
            asked.order.note(row, asked.row)
        asked.answered = True
        asked.settled = asked.settled or exec_type in fix.SETTLES
        if message.get("37", "NONE").upper() not in fix.NO_ORDER_ID:
            self._by_id[_session(message), message["37"]] = asked.order
        return asked.order

    def _exec_type(self, message: Message) -> str:
        """What a report reports; what is unknown is a statement of the order's status."""
        if message["35"] == "9":
            return "cancel_rejected"
        if message.get("20", "0") in fix.TRANS_TYPES:
            return fix.TRANS_TYPES[message["20"]]
        tag = "150" if "150" in message else "39"
        need(message, tag)
        return self.terms.code(message, tag, fix.EXEC_TYPES, "order_status")

    def _events(self, exec_type: str, message: Message, order: _Order, last: Decimal) -> list[str]:
        """What a report reports, one or two events: a fill may end its order, or an end fill it.

        What would be a trade of nothing, or amend a trade that the log does not have, is a
        statement of the order's status.
        """
        cum_qty, end = self.terms.quantity(message, "14"), fix.ENDS.get(message.get("39", ""))
        if exec_type == "trade" and message.get("39") == "7" and cum_qty == order.cum_qty:
            return ["stopped"]  # so FIX 4.2 reports a guarantee
        if why := _changes_nothing(exec_type, message, order, last):
            self.terms.unknown[why] += 1
            return ["order_status"]
        if exec_type == "trade" and end:
            return [exec_type, end]
        if exec_type in fix.ENDS.values() and last and cum_qty == order.cum_qty + last:
            return ["trade", exec_type]
        return [exec_type]

    def _numbered(
        self, exec_type: str, message: Message, order: _Order, last_qty: Decimal, last_px: int
    ) -> Row:
        """What of an event is its own: ids, type, and the trade that it is or amends."""
        number, name = len(self.executions), message.get("17", "")
        exec_id, refers = _id(Kind.VENUE, number), None
        is_of_trade = exec_type in ("trade", "trade_correct", "trade_cancel")
        if is_of_trade:
            refers = order.events.get(message.get("19", "")) if exec_type != "trade" else None
            root = refers[1] if refers else name
            order.events[name] = exec_id, root
            order.traded[root] = Decimal(0) if exec_type == "trade_cancel" else last_qty
        return {
            "record_id": _id(Kind.STREET, number),
            "exec_id": exec_id,
            "exec_type": exec_type,
            "exec_ref_id": refers and refers[0],
            "order_id": order.order_id,
            "last_qty": last_qty if is_of_trade else Decimal(0),
            "last_px": last_px if is_of_trade else 0,
        }

    def _statement(self, line: int, message: Message) -> Row:
        """What a report says of its order."""
        quantities = {"order_qty": "38", "cum_qty": "14", "leaves_qty": "151"}
        return {
            "line": line,
            "secondary_order_id": message.get("37"),
            "ord_status": self.terms.code(message, "39", fix.STATUSES, None)
            if "39" in message
            else None,
            **{n: self.terms.quantity(message, tag) for n, tag in quantities.items()},
            "avg_px": fix.average(message, "6"),
        }

    # ---- whose

    def _answered(self, message: Message, exec_type: str) -> _Asked:
        """The request that a report is about: the one of its name, or else that in force.

        A name stands for an order that has not been reported of yet before it does for another, and
        the broker's OrderID is more than a name. Who reports an order as new again, with another
        OrderID, speaks of another.

        :raises InvalidValue: the log has no such order, and the report does not say enough of it.
        """
        session = _session(message)
        named = self._named.get((session, message.get("11")), [])
        known = self._by_id.get((session, message.get("37")))
        unanswered = [each for each in named if not each.answered]
        is_refused = exec_type in ("rejected", "cancel_rejected")
        if is_refused and unanswered and unanswered[-1] is named[-1]:
            found = named[-1]
        elif same := [each for each in named if each.order is known]:
            found = same[-1]
        elif unanswered:
            found = unanswered[0]
        elif known or not named:
            return self._in_force(session, message, exec_type)
        elif exec_type in ("new", "pending_new") and exec_type in named[0].order.told:
            return self._unheard(session, message)
        else:
            found = named[0]
        if known and found.order.request is found.row and found.row["request_type"] != "new":
            found.order = known  # it was about an order that only the report names
            found.row["order_id"] = known.order_id
        return found

    def _in_force(self, session: _Session, message: Message, exec_type: str) -> _Asked:
        """The request in force of the order of a report whose name was not asked by.

        A change that the log does not ask for is taken as asked for when it is first reported of.
        """
        order = self._order_named(session, message, "41")
        name = message.get("11")
        if order is None:
            return self._unheard(session, message)
        asked = _Asked(order.request, order, answered=True)
        changes = fix.CHANGES.get(exec_type)
        if changes and name and message.get("41", name) != name:
            terms = self.terms.stated(message, order.terms, reported=True)
            changes = "replace" if message.get("434") == "2" else changes
            asked = _Asked(self._entered(message, changes, order, terms), order)
            self.unheard += 1
        if name:
            self._named[session, name] = [asked]
        return asked

    def _order_named(self, session: _Session, message: Message, tag: str) -> _Order | None:
        """The order of which a message gives a name, or the broker's OrderID; None of none."""
        known = self._by_id.get((session, message.get("37")))
        named = self._named.get((session, message.get(tag)), [])
        if known or not named:
            return known
        return named[0].order

    def _unheard(self, session: _Session, message: Message) -> _Asked:
        """An order that the log does not enter, as if it were entered when it is reported of."""
        account = {"account": message.get("56", message.get("49"))}
        terms = self.terms.stated(message, account, reported=True)
        row = self._entered(message, "new", None, terms)
        row |= {"cl_ord_id": message.get("41", message.get("11")), "orig_cl_ord_id": None}
        self.unheard += 1
        asked = _Asked(row, _Order(row["record_id"], row, row), answered=True)
        for name in {row["cl_ord_id"], message.get("11")} - {None}:
            self._named[session, name] = [asked]
        return asked


def _settled(asked: _Asked, exec_type: str) -> _Asked:
    """The change that a report settles, the last that waits, if it bears the order's own name."""
    kind = fix.CHANGES.get(exec_type)
    if kind is None or asked.row["request_type"] != "new":
        return asked
    kinds = ("cancel", "replace") if exec_type == "cancel_rejected" else (kind,)
    waiting = [c for c in asked.order.changes if not c.settled and c.row["request_type"] in kinds]
    return waiting[-1] if waiting else asked


def _changes_nothing(exec_type: str, message: Message, order: _Order, last: Decimal) -> str | None:
    """Why a report of a trade changes nothing, in a few words; None where it does."""
    if exec_type in ("trade", "trade_correct") and not last:
        return f"{exec_type} of nothing"
    amends = exec_type in ("trade_cancel", "trade_correct")
    return f"{exec_type} of no trade" if amends and message.get("19") not in order.events else None


def _as_answer(exec_type: str, request_type: str) -> str:
    """What a report says of the request that it answers, where its code alone does not say it.

    Up to FIX 4.1 the code of a pending cancel is that of a pending replace as well, and some refuse
    a change as they refuse an order. What refuses a change that the log does not have says nothing
    of the order itself.
    """
    if exec_type == "cancel_rejected" and request_type == "new":
        return "order_status"
    if request_type == "replace" and exec_type == "pending_cancel":
        return "pending_replace"
    is_refused = exec_type == "rejected" and request_type != "new"
    return "cancel_rejected" if is_refused else exec_type


def _is_again(message: Message) -> bool:
    """Whether a message says that it may have been sent before (43), or in another one (97)."""
    return "Y" in (message.get("43"), message.get("97"))


def _identity(message: Message) -> tuple[_Said, str]:
    """What is the same in two messages that are one, and the time that two of them may share.

    A report may be sent again later in the day. Without a time of its own (60) it is of the day on
    which it was sent first (122, 52). Who says that he sends again may state another time.
    """
    if message["35"] in fix.REQUEST_TYPES:
        return tuple(map(message.get, _SAME_REQUEST)), ""
    time = message.get("60") or message.get("122", message.get("52", ""))[:8]
    return tuple(map(message.get, _SAME_REPORT)), time


def _session(message: Message) -> _Session:
    """The two parties of a message, whichever of them sends it; none where one is not named."""
    parties = frozenset(message[tag] for tag in ("49", "56") if tag in message)
    return parties if len(parties) == 2 else frozenset()


def _day(ns: int) -> int:
    return ns // (86_400 * 10**9)


def _id(kind: Kind, sequence: int) -> int:
    return make_id(Origin(kind).code, sequence)
