"""What benchmarks share: a PostgreSQL server of their own, by a socket that only they know."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVERS = Path("/usr/lib/postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The connection string of a PostgreSQL server with its own settings and an empty database.

    The test is skipped where no server is installed (on Debian: ``apt-get install postgresql``).
    """
    pg_ctl = _found()
    # PostgreSQL does not run as root.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if user:
        shutil.chown(folder, user)
    data, log = folder / "data", folder / "log"
    options = f"-k {folder} -c listen_addresses="

    def run(*command: str) -> None:
        whole = [str(pg_ctl), "-D", str(data), "-s", "-w", *command]
        subprocess.run(whole, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)

    try:
        run("-o", "-A trust -U postgres -E UTF8", "initdb")
        run("-l", str(log), "-o", options, "start")
        try:
            yield f"host={folder} user=postgres dbname=postgres"
        finally:
            run("-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _found() -> Path:
    """The newest server's ``pg_ctl``."""
    installed = sorted(SERVERS.glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("pg_ctl")
    if not installed and not on_path:
        pytest.skip("needs a PostgreSQL server: apt-get install postgresql")
    return installed[-1] if installed else Path(str(on_path))
