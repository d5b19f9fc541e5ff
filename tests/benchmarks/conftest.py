"""What benchmarks share: a PostgreSQL server of their own."""

from collections.abc import Iterator

import pytest

from tests.benchmarks.server import Server, pg_ctl, postgres_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server with its own settings and an empty database.

    The test is skipped where no server is installed (on Debian: ``apt-get install postgresql``).
    """
    program = pg_ctl()
    if program is None:
        pytest.skip("needs a PostgreSQL server: apt-get install postgresql")
    with postgres_server(program) as made:
        yield made


@pytest.fixture(scope="session")
def postgres(server: Server) -> str:
    """How to connect to the server."""
    return server.connection
