"""Orders as a system acknowledges them, and as a system answers for them."""

from dataclasses import dataclass
from typing import NamedTuple

from tradesys.inquiry.evidence import Evidence
from tradesys.records import argument_checks as given
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import OrdStatus, average, format_id, origin, parse_id, split_id


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer-facing system acknowledged: a request, recorded and durable.

    ``order_id`` names the order (``str(order)`` gives it as people write it), ``record_id`` this
    request for it. ``reject_reason`` is None unless the order was refused. ``repeated`` says that
    the system had this request already and did nothing. ``token`` is what a later inquiry at
    another system may ask to be answered from: records of the origin up to this one.
    """

    order_id: int
    record_id: int
    cl_ord_id: str | None
    reject_reason: str | None = None
    repeated: bool = False

    @property
    def token(self) -> dict[str, int]:
        """The positions that a system must have reached to know of this request."""
        code, sequence = split_id(self.record_id)
        return {str(origin(code)): sequence + 1}

    def __str__(self) -> str:
        return format_id(self.order_id)


class Answer(NamedTuple):
    """An order's status, aggregated at ``system`` from the records it held (claims 16, 27).

    Quantities in shares; ``price`` in 1/10,000 of the currency: the limit or, of a market order,
    the collar (FIX tag 44 beside 40=1; None where it has none), beyond which it does not trade;
    ``avg_px`` in the currency (None without a fill). ``evidence`` says on which records the answer
    rests, ``request_in_force`` which request states its terms.
    """

    order_id: int
    account: str
    symbol: str
    side: str
    ord_type: str
    time_in_force: str
    price: int | None
    ord_status: OrdStatus
    order_qty: int
    cum_qty: int
    leaves_qty: int
    cum_amount: int
    request_in_force: int
    evidence: Evidence

    @property
    def cl_ord_id(self) -> str | None:
        """What the customer calls the order; it is looked up when it is asked for."""
        names = self.evidence.names
        return names.of_one(self.request_in_force) or names.of_one(self.order_id)

    @property
    def avg_px(self) -> float | None:
        """The average price of the fills in the currency; None without a fill."""
        return average(self.cum_amount, self.cum_qty)

    @property
    def token(self) -> dict[str, int]:
        """What another system must hold to answer from no less."""
        return self.evidence.token

    @property
    def system(self) -> str:
        """The system that was asked."""
        return self.evidence.system

    @property
    def positions(self) -> dict[str, dict[str, int]]:
        """How many records of each origin, per dataset, the answer rests on."""
        return self.evidence.positions

    def __str__(self) -> str:
        at = f" at {self.avg_px:,.4f}" if self.avg_px is not None else ""
        return (
            f"{format_id(self.order_id)} {self.side} {self.order_qty:,} {self.symbol}: "
            f"{self.ord_status}, {self.cum_qty:,} done{at}, {self.leaves_qty:,} open "
            f"(asked at {self.system})"
        )


OrderLike = Order | Answer | int | str
"""An order, or its id as a number or as people write it (``"c1-17"``)."""


def id_of(order: OrderLike) -> int:
    """The id of an order given as an object, a number, or as people write it.

    :raises InvalidValue: it is no id.
    """
    if type(order) is int and 0 <= order < 1 << 64:
        return order
    if isinstance(order, Order | Answer):
        return order.order_id
    text = given.text_of(order)
    found = given.number_of(order) if text is None else parse_id(text)
    if found is None or not 0 <= found < 1 << 64:
        raise InvalidValue("order", order, "an order, or an id like c1-17")
    return found
