"""What all tests share: the folder of real order flow, and how Hypothesis searches."""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

REAL_DATA = "TRADESYS_REAL_DATA"
REAL_DATA_REQUIRED = os.environ.get("TRADESYS_REAL_DATA_REQUIRED") == "1" or (
    os.environ.get("CI") == "true"
)

# A slow machine is no failure. In CI the same examples are tried every time.
settings.register_profile("anywhere", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "anywhere")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real order flow, which is not part of the project.

    Where ``TRADESYS_REAL_DATA`` is unset the test is skipped, or fails if real data is required
    (``TRADESYS_REAL_DATA_REQUIRED=1``, or ``CI=true``). A folder named but missing is a failure.
    """
    folder = os.environ.get(REAL_DATA)
    if not folder:
        if REAL_DATA_REQUIRED:
            pytest.fail(f"{REAL_DATA} is not set, and real data is required here", pytrace=False)
        pytest.skip(f"needs real order flow: set {REAL_DATA} to its folder")
    path = Path(folder).resolve()
    if not path.is_dir():
        pytest.fail(f"{REAL_DATA}={folder}: there is no such folder", pytrace=False)
    return path


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """A process that a shell has put in the background, and what it starts, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where real data is required, a test of it that is skipped for any reason has failed."""
    report = yield
    needs_real_data = "real_data" in getattr(item, "fixturenames", ())
    if (
        REAL_DATA_REQUIRED
        and needs_real_data
        and report.skipped
        and not hasattr(report, "wasxfail")
    ):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and real data is required here: {reason}"
    return report
