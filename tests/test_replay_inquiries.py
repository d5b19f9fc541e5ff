"""Goal: an answer is right at the moment it is given, whatever has reached the system asked.

Method: while a real day runs through the network, one system of it cut off for a third, the
customer-facing systems are asked for 100,000 orders drawn at random. After each batch of events the
definition aggregates the records of the orders drawn, from what the system asked holds then.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tradesys.network.tape_replay import Partition, open_network, replay
from tradesys.status import definition as status
from tradesys.systems.customer import CustomerSystem
from tradesys.venue import tapes

INQUIRIES = 100_000
BATCH = 2000


def asked_and_defined(system: CustomerSystem, ids: list[int]) -> None:
    """Each of these orders is answered for as the definition says of the records held now."""
    wanted = pl.Series(ids).implode()
    requests, executions = (
        system.tables[name].frame.filter(pl.col("order_id").is_in(wanted))
        for name in ("requests", "executions")
    )
    defined = {row["order_id"]: row for row in status.statuses(requests, executions).to_dicts()}
    for order_id in ids:
        answer = system.status(order_id)
        assert {n: getattr(answer, n) for n in status.COLUMNS} == defined[order_id]
        assert answer.system == system.name


@pytest.mark.parametrize("day", ["GOOG_message_10.parquet"])
def test_single_orders_asked_for_while_a_real_day_runs_are_as_defined_at_that_moment(
    real_data: Path, day: str
) -> None:
    tape = tapes.read(real_data / "lobster" / day)
    network = open_network(tape)
    chance = np.random.default_rng(4)
    batches = -(-tape.events // BATCH)
    asked = dict.fromkeys((c.name for c in network.customers), 0)
    positions: set[tuple[str, int]] = set()

    def ask(_: int) -> None:
        rest = -(-INQUIRIES // batches)
        for system, share in zip(
            network.customers, chance.multinomial(rest, [1 / len(asked)] * len(asked)), strict=True
        ):
            known = system.tables["requests"].frame["order_id"].unique().sort().to_numpy()
            ids = chance.choice(known, share).tolist()
            asked_and_defined(system, ids)
            asked[system.name] += len(ids)
            held = system.tables["executions"]
            positions.add((system.name, len(held)))

    replay(tape, network, batch=BATCH, partitions=[Partition("c1", 0.33, 0.66)], progress=ask)
    assert sum(asked.values()) >= INQUIRIES
    assert min(asked.values()) > INQUIRIES / len(asked) * 0.9
    assert len(positions) > 2 * batches, "the moments were different ones"
