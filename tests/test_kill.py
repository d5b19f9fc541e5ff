"""Goal: a system killed at any instant has every record that it acknowledged, once, as it was.

Method: real processes that trade are killed (SIGKILL) after a number of acknowledged lines that is
drawn from a seed; the folder is opened, what it holds is compared with what was acknowledged, and
the next process goes on with the same folder. ``TRADESYS_KILLS`` says how many kills.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

from tradesys import Network

ROOT = Path(__file__).parent.parent
KILLS = int(os.environ.get("TRADESYS_KILLS", "8"))
KILLS_A_FOLDER = 4


def trade_and_kill(folder: Path, seed: int) -> dict[int, int]:
    """What one process acknowledged before it was killed: order ids and quantities."""
    lines = int(random.Random(seed).expovariate(1 / 3000))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.kill", str(folder), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout
    with process:
        told = [process.stdout.readline() for _ in range(lines + 1)]
        process.kill()
        told += process.stdout.readlines()
    assert told[0] == "open\n", "the process did not start"
    whole = (line.split() for line in told[1:] if line.endswith("\n"))
    return {int(order_id): int(qty) for order_id, qty in whole}


def test_what_was_acknowledged_before_a_kill_is_there_once_and_as_it_was(tmp_path: Path) -> None:
    acknowledged: dict[int, int] = {}
    total = 0
    for kill in range(KILLS):
        folder = tmp_path / str(kill // KILLS_A_FOLDER)
        if kill % KILLS_A_FOLDER == 0:
            acknowledged = {}
        told = trade_and_kill(folder, seed=kill)
        assert not told.keys() & acknowledged.keys(), "an id was given twice"
        acknowledged |= told
        with Network.open(folder) as desk:
            desk.run()
            audit = desk.audit()
            assert audit.verdict is True, f"after kill {kill}\n{audit}"
            for customer in desk.customers:
                held = customer.tables["requests"].frame.filter(request_type="new")
                quantities = dict(held.select("order_id", "order_qty").iter_rows())
                assert len(quantities) == len(held), "a record is there twice"
                lost = acknowledged.keys() - quantities.keys()
                assert not lost, f"after kill {kill} {customer.name} lacks {sorted(lost)[:3]}"
                assert all(quantities[i] == qty for i, qty in acknowledged.items())
        total += len(told)
    sys.stdout.write(f"\n{KILLS} kills, {total:,} acknowledged: 0 lost, 0 twice, 0 wrong\n")
