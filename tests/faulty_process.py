"""A process of a cluster whose network and disk can be made bad.

Run as ``python -m tests.faulty_process NAME --config DIR``. What is wrong stands in
``DIR/faults.json``, which it reads before it sends anything: ``cut`` has pairs of systems between
which no message passes, ``disturbed`` says whether messages are lost, repeated and overtaken by
others. After SIGUSR1 its disk takes nothing more, until SIGUSR2. Its market, which a real one
cannot be relied on to do, notes in ``DIR/twice`` that it was sent a request again.
"""

import argparse
import asyncio
import json
import random
import resource
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa

from tradesys.cluster import layout as layouts
from tradesys.cluster.gateway import Gateway
from tradesys.cluster.layout import MARKET
from tradesys.cluster.node import Node
from tradesys.cluster.processes import run_until_told
from tradesys.records.clock import MS
from tradesys.replication.runtime import Message, Settings
from tradesys.venue import BookVenue

SETTINGS = Settings(
    heartbeat=100 * MS,
    seldom=300 * MS,
    late=300 * MS,
    grace=500 * MS,
    resend=500 * MS,
    resend_most=2000 * MS,
)


class FaultyNode(Node):
    """Its messages get lost between it and others."""

    def _faults(self) -> dict[str, Any]:
        path = self.layout.folder / "faults.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    async def _send(self, messages: list[Message]) -> None:
        faults = self._faults()
        cut = {frozenset(pair) for pair in faults.get("cut", ())}
        kept = [m for m in messages if frozenset((m.source, m.target)) not in cut]
        if faults.get("disturbed"):
            kept = [m for m in kept for _ in range(random.choice((0, 1, 1, 2)))]
            random.shuffle(kept)
        await super()._send(kept)


class OnceVenue(BookVenue):
    """A market that may not be sent a request twice."""

    def __init__(self, **how: Any) -> None:
        self.at: Path = how["folder"]
        super().__init__(**how)

    def send(self, requests: pa.RecordBatch) -> None:
        if self.has_taken(requests["record_id"].to_numpy()).any():
            (self.at.parent / "twice").touch()
        super().send(requests)


def limit_disk(number: int, _: object) -> None:
    """Let this process's files grow no more, or again."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    soft = 0 if number == signal.SIGUSR1 else most
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, most))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--config", type=Path)
    asked = parser.parse_args()
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, limit_disk)
    layout = layouts.read(asked.config)
    process: Gateway | Node
    if asked.name == MARKET:
        process = Gateway(layout.access(MARKET), OnceVenue, layout.data)
    else:
        process = FaultyNode(layout, asked.name, settings=SETTINGS)
    asyncio.run(run_until_told(process, asked.name))


if __name__ == "__main__":
    main()
