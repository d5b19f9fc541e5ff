"""A PostgreSQL server of one's own, by a socket that only its maker knows."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SERVERS = Path("/usr/lib/postgresql")
SETTINGS = ("max_wal_size=4GB", "jit=off")


class Server(NamedTuple):
    """How to connect, and the folder with the server's data."""

    connection: str
    data: Path


def pg_ctl() -> Path | None:
    """The newest installed server's ``pg_ctl``."""
    installed = sorted(SERVERS.glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("pg_ctl")
    return installed[-1] if installed else Path(on_path) if on_path else None


@contextmanager
def postgres_server(program: Path, settings: tuple[str, ...] = ()) -> Iterator[Server]:
    """A server with an empty database, which is gone afterwards."""
    # PostgreSQL does not run as root.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if user:
        shutil.chown(folder, user)
    data, log = folder / "data", folder / "log"
    options = " ".join([f"-k {folder} -c listen_addresses=", *(f"-c {s}" for s in settings)])

    def run(*command: str) -> None:
        whole = [str(program), "-D", str(data), "-s", "-w", *command]
        subprocess.run(whole, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)

    try:
        run("-o", "-A trust -U postgres -E UTF8", "initdb")
        run("-l", str(log), "-o", options, "start")
        try:
            yield Server(f"host={folder} user=postgres dbname=postgres", data)
        finally:
            run("-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def server_seconds(data: Path) -> float:
    """Processor time that a server has taken so far, with all its processes, by Linux' ``/proc``.

    Zero where that is not there.
    """
    if not Path("/proc/self/stat").exists():
        return 0
    postmaster = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        if int(path.parent.name) == postmaster:
            ticks += sum(map(int, fields[11:15]))  # those of its processes that have ended, too
        elif int(fields[1]) == postmaster:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")
