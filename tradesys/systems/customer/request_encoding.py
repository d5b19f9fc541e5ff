"""What requests state, as whole numbers: see :mod:`tradesys.systems.customer.entry_rules`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tradesys.records.arrow import Ints
from tradesys.status.reference_data import Reference
from tradesys.systems.customer import entry_rules as rules
from tradesys.systems.customer.order_terms import Terms

TEXTS = ("request_type", "account", "symbol", "side", "ord_type", "time_in_force")
NUMBERS = ("expire_time", "order_qty", "price")
"""The fields of a request in the sequence of the rules' columns, from KIND to PRICE."""

_REST = [0] * (rules.COLUMNS - len(TEXTS) - len(NUMBERS))


class Coder:
    """A number for each text: from 0 if it is known, else below 0, and equal for equal texts."""

    def __init__(self, reference: Reference) -> None:
        self._known: tuple[Mapping[str, int], ...] = (
            *(rules.KINDS, reference.accounts, reference.symbols),
            *(rules.SIDES, rules.ORD_TYPES, rules.TIMES_IN_FORCE),
        )
        self._unknown: dict[str, int] = {}

    def row(self, kind: str, terms: Terms) -> list[Any]:
        """One request, or an order held already, by name of no other."""
        texts = kind, *terms[:5]
        codes = [known.get(text) for known, text in zip(self._known, texts, strict=True)]
        if None in codes:
            codes = [*map(self._code, self._known, texts)]
        expire_time = rules.UNSTATED if terms.expire_time is None else terms.expire_time
        row = [*codes, expire_time, *terms[6:], *_REST]
        row[rules.NAME] = row[rules.ORIG_NAME] = row[rules.ORDER] = -1
        return row

    def record(self, record: Mapping[str, Any]) -> list[Any]:
        """A request that is recorded."""
        terms = Terms(*(record[name] for name in (*TEXTS[1:], *NUMBERS)))
        row = self.row(record["request_type"], terms._replace(price=terms.price or 0))
        row[rules.ORDER_ID] = record["order_id"]
        return row

    def rows(self, columns: Mapping[str, pa.Array], rows: Ints) -> None:
        """Requests, or orders held already, from columns into rows; null is unstated."""
        for place, (name, known) in enumerate(zip(TEXTS, self._known, strict=True)):
            column, default = columns[name], rules.UNSTATED
            if place == rules.KIND:
                default = rules.NEW  # what states no type is a new order
            if column.null_count == len(column):
                rows[:, place] = default
                continue
            encoded = column.dictionary_encode()
            codes = [self._code(known, text) for text in encoded.dictionary.to_pylist()]
            places = _filled(encoded.indices, len(codes)).to_numpy()
            rows[:, place] = np.array([*codes, default])[places]
        for place, name in enumerate(NUMBERS, len(TEXTS)):
            rows[:, place] = _filled(columns[name].cast(pa.int64()), rules.UNSTATED).to_numpy()
        rows[:, [rules.NAME, rules.ORIG_NAME, rules.ORDER]] = -1

    def _code(self, known: Mapping[str, int], text: str) -> int:
        code = known.get(text)
        return self._unknown.setdefault(text, -1 - len(self._unknown)) if code is None else code


def _filled(column: pa.Array, value: int) -> pa.Array:
    return column.fill_null(value) if column.null_count else column
