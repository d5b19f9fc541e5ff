"""Goal: the simulation finds what is wrong with a protocol, whichever of its rules is left out.

Method: each mutant leaves out or turns round one rule of the systems, or of who runs them, as they
stand. Plans are drawn and run until a check is not true; the check, and how many seeds that took,
is what :data:`CAUGHT_BY` says. ``TRADESYS_MUTANT_SEEDS`` is how many are tried.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from tests.build import Row
from tradesys.audit.checks import FLAGGED, IN_TIME, TWICE
from tradesys.log.log import Log
from tradesys.log.offsets import Cursor, Offsets
from tradesys.records.arrow import with_columns
from tradesys.records.clock import MS
from tradesys.records.opening_books import NO_FEES, Fees
from tradesys.records.schemas import split_id
from tradesys.replication import runtime
from tradesys.replication.runtime import Message, Pull, Records, Requests, Runtime
from tradesys.replication.transfer import takes
from tradesys.routes import WRITES
from tradesys.simulation import Choices, Plan, draw
from tradesys.simulation.customers import NEVER_BACK
from tradesys.simulation.disk import MemoryFile
from tradesys.simulation.guarantees import IN_ORDER, NOT_LOST, TIMELY
from tradesys.simulation.many_seeds import run_plan
from tradesys.simulation.run import Simulation
from tradesys.simulation.transport import NEVER, Node
from tradesys.status.incremental.view import View
from tradesys.systems.customer import CustomerSystem, customer
from tradesys.systems.customer import order_entry as entry
from tradesys.systems.firm import FirmSystem
from tradesys.systems.street import StreetSystem
from tradesys.systems.street.symbol_assignment import Assignment
from tradesys.venue import BookVenue, Venue

SEEDS = int(os.environ.get("TRADESYS_MUTANT_SEEDS", "96"))
Patch = pytest.MonkeyPatch


def count_an_event_twice(patch: Patch) -> None:
    """An event that two street-side systems recorded counts twice in an answer."""
    real = View.apply

    def apply(view: View, dataset: str, batch: pa.RecordBatch) -> None:
        if dataset == "executions":
            batch = with_columns(batch, exec_id=batch["record_id"])
        real(view, dataset, batch)

    patch.setattr(View, "apply", apply)


def apply_across_a_gap(patch: Patch) -> None:
    """A replica takes what comes, whatever is missing before it."""
    real = Log.check

    def check(log: Log, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        start = batch["record_id"][0].as_py() & ((1 << 48) - 1)
        if start > log.count:
            return batch
        return real(log, batch)

    patch.setattr(Log, "check", check)


def acknowledge_before_it_is_durable(patch: Patch) -> None:
    """An order is acknowledged when it is written, and made durable with the next."""
    real = MemoryFile.commit

    def commit(file: MemoryFile, batches: list[pa.RecordBatch]) -> None:
        sync, file.sync = file.sync, lambda: None  # type: ignore[method-assign]
        real(file, batches)
        file.sync = sync  # type: ignore[method-assign]

    patch.setattr(MemoryFile, "commit", commit)


def reuse_ids_after_a_lost_disk(patch: Patch) -> None:
    """A system that has lost its disk goes on under the name that it had."""
    patch.setattr(runtime, "begin_again", lambda _: True)


def execute_at_two_streets(patch: Patch) -> None:
    """An order is sent to two street-side systems, to each under an id of its own."""
    real = Runtime._send

    def send(own: Runtime, system: CustomerSystem) -> list[Message]:
        sent = real(own, system)
        return [*sent, *map(at_the_other, sent)]

    def at_the_other(message: Message) -> Message:
        assert isinstance(message.body, Requests)
        requests, again = message.body
        other = next(s for s in ("s1", "s2") if s != message.target)
        ids = pa.array(requests["record_id"].to_numpy() + np.uint64(5000))
        names = pa.array([f"{n}*" for n in requests["cl_ord_id"].to_pylist()])
        requests = with_columns(requests, record_id=ids, order_id=ids, cl_ord_id=names)
        return message._replace(target=other, body=Requests(requests, again))

    patch.setattr(Runtime, "_send", send)


def clear_twice(patch: Patch) -> None:
    """A firm that comes back does not look at what it has posted."""
    real = FirmSystem.__init__

    def init(firm: FirmSystem, *args: Any, **more: Any) -> None:
        real(firm, *args, **more)
        everything = Offsets.of(firm.tables, ["postings"])
        firm._followed = Cursor(firm.tables, everything)

    patch.setattr(FirmSystem, "__init__", init)


def clear_before_peers_gave_back(patch: Patch) -> None:
    """A firm that has lost its disk clears before it knows what it had posted."""
    real = Runtime.work

    def work(own: Runtime) -> list[Message]:
        kept, own.unheard = own.unheard, set()
        messages = real(own)
        own.unheard = kept
        return messages

    patch.setattr(Runtime, "work", work)


def never_say_possible_duplicate(patch: Patch) -> None:
    """A street-side system never says that another may have recorded an event too."""
    patch.setattr(StreetSystem, "_poss_dup", lambda _, reports: np.zeros(len(reports), np.bool_))


def answer_from_what_is_not_durable(patch: Patch) -> None:
    """What is replicated is not made durable before it is asked for."""
    patch.setattr(runtime, "takes", lambda target, carried, **_: takes(target, carried))


def never_take_over(patch: Patch) -> None:
    """Nobody looks again at what the market reported while another was responsible."""
    patch.setattr(StreetSystem, "take_over", lambda _: None)


def repeat_a_request_at_the_venue(patch: Patch) -> None:
    """The market takes an order that is sent again for a new one."""

    def untaken(venue: Venue, requests: pa.RecordBatch) -> pa.RecordBatch:
        for book in venue.books.values():  # type: ignore[attr-defined]
            book._answered.clear()
        venue._named.clear()  # type: ignore[attr-defined]
        return requests

    patch.setattr(Venue, "untaken", untaken)


def accept_a_name_twice(patch: Patch) -> None:
    """The market does not know orders by the names that customers gave them."""
    real = BookVenue._match

    def match(venue: BookVenue, request: Row, now: int) -> object:
        venue._named.clear()
        return real(venue, request, now)

    patch.setattr(BookVenue, "_match", match)


def never_send_again(patch: Patch) -> None:
    """What nobody has answered is not sent again."""
    patch.setattr(Runtime, "_resend", lambda *_: [])


def write_read_only_data(patch: Patch) -> None:
    """A firm corrects a copy of an execution."""
    real = FirmSystem.clear

    def clear(firm: FirmSystem) -> int:
        for log in firm.tables["executions"].logs.values():
            for chunk in log.state.chunks:
                at = chunk.batch.schema.get_field_index("text")
                texts = pa.array(["seen"] * len(chunk.batch), pa.utf8())
                chunk.batch = chunk.batch.set_column(at, chunk.batch.schema.field(at), texts)
        return real(firm)

    patch.setattr(FirmSystem, "clear", clear)


def state_a_position_too_high(patch: Patch) -> None:
    """A system says that it holds one record more than it does."""
    real = Runtime.pull

    def pull(own: Runtime, source: str, now: int) -> list[Message]:
        tables = own.system.tables
        datasets = WRITES[own.sources[source].kind]
        logs = [log for dataset in datasets for log in tables[dataset].logs.values()]
        for log in logs:
            log.state = log.state._replace(held=log.count + 1)
        messages = real(own, source, now)
        for log in logs:
            log.state = log.state._replace(held=log.count - 1)
        return messages

    patch.setattr(Runtime, "pull", pull)


def forget_what_was_lost(patch: Patch) -> None:
    """A system that has lost its disk is given nothing back."""
    real = Runtime._take

    def take(own: Runtime, source: str, records: Records, now: int) -> list[Message]:
        return real(own, source, records, now) if records.number else []

    patch.setattr(Runtime, "_take", take)


def send_nothing_after_a_restart(patch: Patch) -> None:
    """A restarted system sends no order that it had acknowledged, and nobody sends for it."""
    real = CustomerSystem.__init__

    def init(system: CustomerSystem, *args: Any, **more: Any) -> None:
        real(system, *args, **more)
        system._send_again = False

    patch.setattr(CustomerSystem, "__init__", init)
    patch.setattr(Runtime, "_resend", lambda *_: [])


def work_on_without_the_order(patch: Patch) -> None:
    """A change that overtakes its order is not kept until the order has come."""
    patch.setattr(StreetSystem, "_ready", lambda _, requests: np.ones(requests.num_rows, np.bool_))


def begin_polling_at_the_end(patch: Patch) -> None:
    """A street-side system that comes back does not ask for what it has missed."""
    real = StreetSystem.__init__

    def init(system: StreetSystem, *args: Any, **more: Any) -> None:
        real(system, *args, **more)
        system._polled = system.venue.reports.count

    patch.setattr(StreetSystem, "__init__", init)
    patch.setattr(StreetSystem, "take_over", lambda _: None)


def replicate_once(patch: Patch) -> None:
    """Records are sent as they come, and never asked for again."""
    real_begin, real_pull = Runtime.begin, Runtime.pull

    def begin(own: Runtime, now: int, **how: bool) -> bool:
        can = real_begin(own, now, **how)
        if now:
            own._due |= {("pull", source): NEVER for source in own.sources}
        return can

    def pull(own: Runtime, source: str, now: int) -> list[Message]:
        messages = real_pull(own, source, now)
        own._due["pull", source] = NEVER
        return messages

    patch.setattr(Runtime, "begin", begin)
    patch.setattr(Runtime, "pull", pull)


def stand_in_for_nobody(patch: Patch) -> None:
    """Nobody ever takes a street-side system to be down."""
    patch.setattr(Assignment, "see", lambda *_: False)


def acknowledge_before_a_peer_has_it(patch: Patch) -> None:
    """An order counts as held by a peer that has asked for records, whatever it holds."""
    real = Simulation._held

    def held(desk: Simulation, node: Node, pull: Pull) -> None:
        everything = Offsets(dict.fromkeys(pull.held, 1 << 48))
        real(desk, node, pull._replace(held=everything))

    patch.setattr(Simulation, "_held", held)


def trade_after_the_expire_time(patch: Patch) -> None:
    """The market lets no order expire that is good till a time."""
    real = BookVenue._over

    def over(venue: BookVenue, *now: int) -> Iterator[tuple[int, int]]:
        found = real(venue, *now)
        return (each for each in found if venue._orders[each[1]]["time_in_force"] != "gtd")

    patch.setattr(BookVenue, "_over", over)


def trade_on_the_next_day(patch: Patch) -> None:
    """The market lets no order expire that is good for a day."""
    real = BookVenue._over

    def over(venue: BookVenue, *now: int) -> Iterator[tuple[int, int]]:
        found = real(venue, *now)
        return (each for each in found if venue._orders[each[1]]["time_in_force"] != "day")

    patch.setattr(BookVenue, "_over", over)


def reserve_no_fees(patch: Patch) -> None:
    """An order may use all that an account has for its price, and its fees come on top."""
    real = entry.decide_one

    def decide_one(rows: Any, left: int, reference: Any, _: Fees, *more: Any) -> str | None:
        return real(rows, left, reference, NO_FEES, *more)

    patch.setattr(customer, "decide_one", decide_one)


def give_back_an_amended_trade_again(patch: Patch) -> None:
    """Amended again by its own id, a trade gives its order back what it was before it was."""
    real = BookVenue._stands

    def stands(venue: BookVenue, exec_id: int) -> Row:
        real(venue, exec_id)
        return venue.reports.row(split_id(exec_id)[1])

    patch.setattr(BookVenue, "_stands", stands)


def count_an_amendment_beside_the_one_before(patch: Patch) -> None:
    """A second amendment of a trade, by the trade's own id, counts beside the first."""
    real = View.apply
    amended: set[tuple[int, int]] = set()

    def apply(view: View, dataset: str, batch: pa.RecordBatch) -> None:
        if dataset == "executions":
            kinds = batch["exec_type"].to_pylist()
            for row, about in enumerate(batch["exec_ref_id"].to_pylist()):
                if about and (id(view), about) in amended:
                    kinds[row] = "trade"
                amended.add((id(view), about))
            batch = with_columns(batch, exec_type=pa.array(kinds, pa.utf8()))
        real(view, dataset, batch)

    patch.setattr(View, "apply", apply)


AGREES = "executions agree with the venue's record"
ANSWERED = "every accepted request is answered"
CLEARED = "each fill is cleared exactly once"
DEFINED = "answers agree with the definition"
GAPLESS = "no record twice, no gap"
HELD = "every request that was answered is held"
OVERSPENT = "no system lets an account use more than it has"
OVER_FILL = "no order is filled beyond its quantity"
PLACED = "every record is where the topology says"
SAME = "replicas hold what their origin wrote"


class Mutant(NamedTuple):
    """What leaves a rule out, the check that catches it, and the faults that bring it out.

    These are of some kinds, or one of them at one system (``where``) for a long time.
    """

    leave_out: Callable[[Patch], None]
    check: str
    kinds: tuple[str, ...]
    where: str | None = None
    acknowledge: str = "own"


CAUGHT_BY = [
    Mutant(count_an_event_twice, DEFINED, ("crash", "pause")),
    Mutant(apply_across_a_gap, GAPLESS, ("lost-disk", "delay")),
    Mutant(acknowledge_before_it_is_durable, NOT_LOST, ("crash", "power")),
    Mutant(reuse_ids_after_a_lost_disk, SAME, ("lost-disk",)),
    Mutant(execute_at_two_streets, HELD, ("pause",)),
    Mutant(clear_twice, CLEARED, ("crash", "pause")),
    Mutant(clear_before_peers_gave_back, CLEARED, ("lost-disk",)),
    Mutant(never_say_possible_duplicate, FLAGGED, ("crash", "pause")),
    Mutant(answer_from_what_is_not_durable, NEVER_BACK, ("crash",)),
    Mutant(never_take_over, TIMELY, ("power",), "s1"),
    Mutant(stand_in_for_nobody, TIMELY, ("crash",), "s1"),
    Mutant(
        acknowledge_before_a_peer_has_it,
        NOT_LOST,
        ("lost-disk", "one-way"),
        acknowledge="one",
    ),
    Mutant(repeat_a_request_at_the_venue, OVER_FILL, ("repeat", "loss")),
    Mutant(accept_a_name_twice, TWICE, ("loss", "pause")),
    Mutant(never_send_again, ANSWERED, ("loss", "crash")),
    Mutant(write_read_only_data, SAME, ("pause",)),
    Mutant(state_a_position_too_high, PLACED, ("pause",)),
    Mutant(forget_what_was_lost, PLACED, ("lost-disk",)),
    Mutant(send_nothing_after_a_restart, ANSWERED, ("crash",)),
    Mutant(work_on_without_the_order, IN_ORDER, ("delay", "loss")),
    Mutant(begin_polling_at_the_end, AGREES, ("crash", "pause")),
    Mutant(replicate_once, PLACED, ("crash", "loss")),
    Mutant(trade_after_the_expire_time, IN_TIME, ("pause",)),
    Mutant(trade_on_the_next_day, IN_TIME, ("pause",)),
    Mutant(reserve_no_fees, OVERSPENT, ("pause",)),
    Mutant(give_back_an_amended_trade_again, OVER_FILL, ("pause",)),
    Mutant(count_an_amendment_beside_the_one_before, DEFINED, ("pause",)),
]


def drawn(seed: int, kinds: tuple[str, ...], where: str | None, choices: Choices) -> Plan:
    plan = draw(seed, orders=60, faults=8, phases=1, kinds=kinds, choices=choices)
    if where is None:
        return plan
    (first, *_) = plan.faults
    return replace(plan, faults=(replace(first, system=where, lasts=300 * MS),))


def caught(mutant: Mutant, seeds: int) -> int:
    """After how many seeds the check that is for it catches a mutant; 0 if it does not."""
    leave_out, check, kinds, where, acknowledge = mutant
    choices = Choices(acknowledge=acknowledge)
    for seed in range(1, seeds + 1):
        with Patch.context() as patch:
            leave_out(patch)
            if check in run_plan(drawn(seed, kinds, where, choices)).found:
                return seed
    return 0


@pytest.mark.parametrize("mutant", CAUGHT_BY, ids=lambda mutant: mutant.leave_out.__name__)
def test_the_simulation_catches_a_protocol_that_leaves_out_a_rule(mutant: Mutant) -> None:
    assert caught(mutant, SEEDS)


def test_the_protocol_as_it_is_passes_what_the_mutants_are_caught_by() -> None:
    for kinds, where in {(mutant.kinds, mutant.where) for mutant in CAUGHT_BY}:
        outcome = run_plan(drawn(1, kinds, where, Choices()))
        assert outcome.verdict, outcome.found
