"""One request on its way through the rules of order entry; for tables see :mod:`.entry`."""

from typing import Any

import numpy as np

from tradesys.records.arrow import Ints
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import Fees
from tradesys.status.reference import Reference
from tradesys.systems.customer import rules
from tradesys.systems.customer.terms import Terms

_NO_NAMES = np.zeros(0, np.int64)


def coded(kind: str, terms: Terms, reference: Reference) -> list[int]:
    """A request as whole numbers (:data:`tradesys.systems.customer.rules.COLUMNS`)."""
    return [
        rules.KINDS[kind],
        reference.accounts.get(terms.account, rules.UNKNOWN),
        reference.symbols.get(terms.symbol, rules.UNKNOWN),
        rules.SIDES.get(terms.side, rules.UNKNOWN),
        rules.ORD_TYPES.get(terms.ord_type, rules.UNKNOWN),
        rules.TIMES_IN_FORCE.get(terms.time_in_force, rules.UNKNOWN),
        rules.UNSTATED if terms.expire_time is None else terms.expire_time,
        *(terms.order_qty, terms.price),
        *(0, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0),
    ]


def judge(
    rows: Ints, left: int, reference: Reference, fees: Fees, given: dict[str, Any], now: int
) -> str | None:
    """Decide the first of these rows; the reason for which it is refused, if it is.

    :param left: what is left of the balance that it draws on.
    :param given: its fields as they were given, for the error.
    :raises InvalidValue: it breaks a rule.
    """
    status, instruments = reference.account_status, reference.instruments
    balance, charged = np.array([left], np.int64), np.array(fees, np.int64)
    rules.decide(rows, 1, _NO_NAMES, _NO_NAMES, balance, status, instruments, now, charged)
    verdict = rows.item(0, rules.VERDICT)
    if rules.ACCEPTED < verdict < rules.FIRST_REASON:
        field = rules.ERRORS[verdict][0]
        instrument = instruments[max(rows.item(0, rules.SYMBOL), 0)]
        value, expected = given.get(field), rules.expected(verdict, instrument)
        raise InvalidValue(field, value, expected + reference.nearest(field, value))
    return rules.REASONS.get(verdict)
