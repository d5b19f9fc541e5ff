"""What a system does by itself, told the time: it asks, answers, sends, works and looks around.

A runtime draws nothing at random, has no thread and reads no clock. Messages come in and go out as
data; whoever carries them (a network in one process, a simulation's transport, a message broker)
may lose, repeat, delay and reorder them::

      reader                               writer
        |------- Pull: what it holds ------->|   keeps the question until there is news,
        |<------ Records: what follows ------|   or a heartbeat is due
        |                                    |
        |<-- GiveBack: what it still holds --|   when a Pull shows that it has lost records
        |------- Records: what is lost ----->|

      customer-facing                     street-side
        |------- Requests ------------------>|   again, until its Records answer them

Nothing has to be remembered about a message that failed. A reader asks again what is not answered,
a customer-facing system sends again what no street-side system has answered, and whoever hears
nothing of a street-side system for a while, or that it is Leaving, takes it to be down. ``handle``
takes a message in, ``work`` does what there is to do now, and ``tick``, called when something is
``due``, whatever time alone brings. Each gives the messages that follow. A network in one process,
where no message is lost and no time passes, never ticks: it lets systems ``work`` and ``pull`` in
turn.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pyarrow as pa

from tradesys.log.offsets import Offsets
from tradesys.records.clock import MS
from tradesys.records.opening_books import Fees
from tradesys.records.schemas import Kind, Origin
from tradesys.replication.recovery import begin_again
from tradesys.replication.transfer import Carried, gives, gives_back, lacks, takes, wants
from tradesys.routes import ROUTES, WRITES
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.firm import FirmSystem
from tradesys.systems.street import StreetSystem
from tradesys.systems.street.symbol_assignment import Assignment
from tradesys.systems.system import Place, System
from tradesys.venue import Venue

LOOK = ("look around", "")
"""What is due when it is to be seen who is up."""

MARKET = "market"
"""What a street-side system reaches beside other systems, or does not."""


class Settings(NamedTuple):
    """When a system does what it does by itself; all but the last two in ns.

    ``pull_every``: records are asked for so long after the last ones came (0: at once).
    ``heartbeat``: a street-side system answers a question after so long, with nothing if need be;
    other systems, from which nobody takes over, after ``seldom``. ``late``: an answer that is later
    than that by so much is lost. ``grace``: a street-side system whose heartbeat is later by so
    much is taken to be down. ``resend``: a request unanswered for so long is sent again, as long as
    nothing is answered after twice that, and so on up to ``resend_most`` (0: never). ``gather``:
    what comes within so long is worked together. ``rows``: so many records of one origin at most
    go in a message. ``durable``: records are on disk before anybody can ask for them.
    """

    pull_every: int = 0
    heartbeat: int = 10 * MS
    seldom: int = 40 * MS
    late: int = 8 * MS
    grace: int = 25 * MS
    resend: int = 25 * MS
    resend_most: int = 50 * MS
    gather: int = MS
    rows: int = 10_000
    durable: bool = True


class Pull(NamedTuple):
    """A reader says what it holds of what the target wrote, and asks for what follows."""

    reader: Origin
    number: int
    held: Offsets


class Records(NamedTuple):
    """What a pull with this number asked for, or (0) what was asked back; and who sends it."""

    writer: Origin
    number: int
    carried: list[Carried]


class GiveBack(NamedTuple):
    """A system that has lost records asks for all that the target holds beyond what it has left."""

    loser: Origin
    held: Offsets


class Requests(NamedTuple):
    """Accepted requests, which the target is to execute; ``again``: perhaps sent before."""

    batch: pa.RecordBatch
    again: bool


class Leaving(NamedTuple):
    """A system stops in good order: nobody has to wait until it is taken to be down."""

    system: Origin


Body = Pull | Records | GiveBack | Requests | Leaving
"""What a message says."""


class Message(NamedTuple):
    """What one system says to another, both by name."""

    source: str
    target: str
    body: Body


def made(
    place: Place,
    *,
    venue: Venue,
    assignment: Assignment,
    fees: Fees,
    customer: type[CustomerSystem] = CustomerSystem,
) -> System:
    """The system of the kind that its place says, of what its files hold."""
    match place.origin.kind:
        case Kind.STREET:
            return StreetSystem(place, venue=venue, assignment=assignment)
        case Kind.FIRM:
            return FirmSystem(place, fees=fees)
        case _:
            return customer(place, fees=fees)


class Runtime:
    """What lets one system work by itself. Of what it keeps nothing is lost with it.

    :param peers: all systems there are, this one among them, in any incarnation.
    :param assignment: which street-side system each symbol is taken to be the business of.
    :param reaches: whether a message to a system, by name, or to the :data:`MARKET` may arrive;
        whoever carries messages and cannot know says yes.
    """

    def __init__(
        self,
        system: System,
        peers: Sequence[Origin],
        assignment: Assignment,
        settings: Settings,
        reaches: Callable[[str], bool],
    ) -> None:
        self.system, self.assignment, self.settings = system, assignment, settings
        self.reaches = reaches
        self.moved = 0
        """How many records it has sent, taken, written or cleared."""
        self.resent = 0
        """How many requests it has sent again because nobody had answered them."""
        self.unheard: set[str] = set()
        """Who reads of this system, and may hold records that it has lost."""
        self._know(peers)
        self._heard: dict[str, int] = {}
        self._due: dict[tuple[str, str], int] = {}
        self._asked: Counter[str] = Counter()
        self._questions: dict[str, Pull] = {}
        self._told = 0
        self._idle_at = 0
        self._resend_after, self._resent = settings.resend, 0
        self._held_before: dict[int, int] = {}

    def _know(self, peers: Sequence[Origin]) -> None:
        kind, others = self.system.kind, [o for o in peers if o.system != self.system.name]
        self.sources = {
            o.system: o for r in ROUTES for o in others if (r.writer, r.reader) == (o.kind, kind)
        }
        self.readers = [
            o.system for r in ROUTES for o in others if (r.writer, r.reader) == (kind, o.kind)
        ]
        self._streets = [peer.system for peer in peers if peer.kind is Kind.STREET]

    def meet(self, peers: Sequence[Origin], now: int) -> None:
        """Know of systems that were added; a street-side one is up once something is heard of it.

        :param peers: all systems there are now.
        """
        before = set(self.sources)
        self._know(peers)
        self.assignment.meet(self._streets)
        self._heard = dict.fromkeys(self._streets, 0) | self._heard
        self._due |= {("pull", source): now for source in self.sources if source not in before}

    def begin(self, now: int, *, lost: bool = False) -> bool:
        """Begin, on what the disk holds.

        :param lost: it has lost records of its own: it goes on as its next incarnation.
        :returns: whether it can: no if there is no incarnation left.
        """
        if lost and not begin_again(self.system):
            return False
        if self.system.origin.incarnation:  # it lost records once; perhaps not all are back
            self.unheard = set(self.readers)
        self._told = self.written
        self._heard = dict.fromkeys(self._streets, now)
        self._idle_at = now
        self._due = {("work", ""): now, **{("pull", source): now for source in self.sources}}
        if self.system.kind is not Kind.FIRM:
            self._due[LOOK] = now + self.settings.heartbeat
        if self.system.kind is Kind.CUSTOMER and self.settings.resend:
            self._due["resend", ""] = now + self.settings.resend
        return True

    # ---- time

    @property
    def due(self) -> int:
        """When there is something to do, though no message comes."""
        return min(self._due.values())

    def tick(self, now: int) -> list[Message]:
        """Do whatever is due by now."""
        messages = []
        for what in [what for what, at in self._due.items() if at <= now]:
            if self._due.get(what, now + 1) > now:
                continue  # what was done before it has seen to it
            del self._due[what]
            match what:
                case "pull", source:
                    messages += self.pull(source, now)
                case "answer", reader:
                    messages += self._answer(reader)
                case "work", _:
                    messages += self.work()
                case "resend", _:
                    messages += self._resend(now)
                case _:
                    messages += self._look_around(now)
        return messages

    def _look_around(self, now: int) -> list[Message]:
        """See which street-side systems are up, as far as has been heard."""
        name, system, settings = self.system.name, self.system, self.settings
        self._due[LOOK] = now + settings.heartbeat
        late = now - settings.grace - settings.heartbeat
        up = [s for s, heard in self._heard.items() if s == name or heard >= late]
        if self.assignment.see(up):
            self.take_over()
            return self.work()
        if isinstance(system, StreetSystem) and settings.resend:
            if not system.has_work or not self.reaches(MARKET):
                self._idle_at = now
            elif now - self._idle_at > 2 * settings.resend_most:
                system.forget_waiting()  # what waits so long waits for what is lost
        return []

    def take_over(self) -> None:
        """Do what it takes that symbols have become the business of other street-side systems."""
        if isinstance(self.system, StreetSystem):
            self.system.take_over()
        elif isinstance(self.system, CustomerSystem):
            self.system.send_again()

    def _resend(self, now: int) -> list[Message]:
        """Send again what nobody has answered for a while, whoever took it; ever more seldom."""
        system, settings = self.system, self.settings
        assert isinstance(system, CustomerSystem)
        if not len(system.outbox()):  # what still waits there is sent anyway
            system.resend(self._held_before)
        messages = self.work()
        bodies = [message.body for message in messages]
        resent = sum(len(body.batch) for body in bodies if isinstance(body, Requests))
        if resent and resent >= self._resent > 0:
            self._resend_after = min(2 * self._resend_after, settings.resend_most)
        else:
            self._resend_after = settings.resend
        self._resent = resent
        self.resent += resent
        logs = system.tables["requests"].logs
        self._held_before = {code: log.count for code, log in logs.items()}
        self._due["resend", ""] = now + self._resend_after
        return messages

    # ---- work

    def work(self) -> list[Message]:
        """Do what there is to do: send requests, work them, clear; tell who waits for records."""
        system, messages = self.system, list[Message]()
        match system:
            case CustomerSystem():
                messages = self._send(system)
            case StreetSystem() if self.reaches(MARKET):
                self.moved += system.work()
            case FirmSystem() if not self.unheard:
                self.moved += system.clear()
        return messages + self._news()

    def _send(self, system: CustomerSystem) -> list[Message]:
        """Send each accepted request to the one street-side system of its symbol (claim 22)."""
        messages: list[Message] = []

        def deliver(street: str, requests: pa.RecordBatch, again: bool) -> bool:  # noqa: FBT001
            if not self.reaches(street):
                return False
            for start in range(0, len(requests), self.settings.rows):
                part = requests.slice(start, self.settings.rows)
                messages.append(self._to(street, Requests(part, again)))
            return True

        self.moved += system.forward(self.assignment.street_for, deliver)
        return messages

    def _work_soon(self, now: int, delay: int) -> None:
        self._due.setdefault(("work", ""), now + delay)

    def _to(self, target: str, body: Body) -> Message:
        return Message(self.system.name, target, body)

    # ---- replication

    def handle(self, message: Message, now: int) -> list[Message]:
        """Take in what another system says."""
        body = message.body
        match body:
            case Pull():
                return self._answer_pull(message.source, body, now)
            case Records():
                return self._take(message.source, body, now)
            case GiveBack(loser, held):
                carried = gives_back(self.system, loser, held, self.settings.rows)
                return [self._to(message.source, Records(self.system.origin, 0, carried))]
            case Requests(batch, again):
                assert isinstance(self.system, StreetSystem)
                self.system.accept(batch, again)
                self._work_soon(now, self.settings.gather)
                return []
            case Leaving():
                if message.source in self._heard and LOOK in self._due:
                    self._heard[message.source], self._due[LOOK] = 0, now
                return []

    def leave(self) -> list[Message]:
        """Tell whoever counts on a street-side system that this one stops."""
        told = self.readers if self.system.kind is Kind.STREET else []
        return [self._to(reader, Leaving(self.system.origin)) for reader in told]

    def pull(self, source: str, now: int) -> list[Message]:
        """Ask a system for what follows what is held of it; again, should no answer come."""
        settings, writer = self.settings, self.sources[source]
        self._asked[source] += 1
        patience = self._beat(writer.kind) + settings.late + settings.pull_every
        self._due["pull", source] = now + patience
        held = wants(self.system, writer)
        return [self._to(source, Pull(self.system.origin, self._asked[source], held))]

    def ask_back(self, peer: str) -> Message:
        """Ask a system to give back whatever it holds that should be held here."""
        held = Offsets.of(self.system.tables)
        return self._to(peer, GiveBack(self.system.origin, held))

    def _answer_pull(self, reader: str, pull: Pull, now: int) -> list[Message]:
        """Answer a question, or keep it until there is something to say, or a heartbeat is due."""
        beat, messages = self._beat(self.system.kind), []
        self._questions[reader] = pull
        self._due["answer", reader] = now + beat
        if lacks(self.system, pull.held):
            messages.append(self.ask_back(reader))
        elif reader in self.unheard:  # it holds nothing more that has been lost here
            self.unheard.remove(reader)
            self._work_soon(now, 0)
        return messages + self._answer(reader, if_any=beat > 0)

    def _answer(self, reader: str, *, if_any: bool = False) -> list[Message]:
        """Answer the question kept of a reader, ``if_any``: not with nothing."""
        pull = self._questions[reader]
        carried = gives(self.system, pull.held, self.settings.rows)
        if if_any and not carried:
            return []
        del self._questions[reader]
        self._due.pop(("answer", reader), None)
        return [self._to(reader, Records(self.system.origin, pull.number, carried))]

    def _take(self, source: str, records: Records, now: int) -> list[Message]:
        """Take in records that were asked for, and ask for more."""
        self.system.heard[source] = records.writer
        if source in self._heard:
            self._heard[source] = now
        new = takes(self.system, records.carried, durable=self.settings.durable)
        self.moved += new
        if new and self.written != self._told:  # some of its own are back
            self._work_soon(now, 0)
        elif new and self.system.kind is Kind.FIRM:
            self._work_soon(now, 2 * self.settings.gather)
        if not records.number or records.number != self._asked[source]:
            return []
        if records.carried and not new:  # it does not follow on: asked for again, but not at once
            return []
        self._due["pull", source] = now + self.settings.pull_every
        return [] if self.settings.pull_every else self.pull(source, now)

    def _news(self) -> list[Message]:
        """Answer whoever waits for records, where there are more of one's own than before."""
        count = self.written
        if count == self._told:
            return []
        self._told = count
        return [m for reader in list(self._questions) for m in self._answer(reader, if_any=True)]

    @property
    def written(self) -> int:
        """How many records of its own it holds."""
        own, tables = self.system.own_codes, self.system.tables
        return sum(tables[d].count(code) for d in WRITES[self.system.kind] for code in own(d))

    def _beat(self, writer: Kind) -> int:
        """After how long a system of this kind answers a question with nothing."""
        return self.settings.heartbeat if writer is Kind.STREET else self.settings.seldom
