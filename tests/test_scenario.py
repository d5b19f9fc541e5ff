"""A made-up session is a market at work, whatever its size."""

import pytest

from tradesys.network.scenario import session


@pytest.mark.parametrize("orders", [100, 2_000])
def test_no_order_of_a_session_lacks_cash_or_shares_however_many_there_are(orders: int) -> None:
    made = session(orders=orders)
    reasons = made.network["c1"].tables["requests"].frame["reject_reason"].drop_nulls()
    assert set(reasons) <= {"no last price to value a market order at"}
    assert made.refused < orders / 20
