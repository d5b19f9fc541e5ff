"""A notebook's cells run in the order in which they stand: each needs those before it.

Everything else in the tests is independent of order, and is shuffled to prove it.
"""

from pathlib import Path

import pytest


def place(cell: pytest.Item) -> tuple[Path, int]:
    """Say where a cell stands: nbval names it ``Cell 0``, ``Cell 1``, and so on."""
    return cell.path, int(cell.name.removeprefix("Cell "))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the cells of the notebooks last, each notebook's together and in their order."""
    cells = [item for item in items if item.path.suffix == ".ipynb"]
    others = [item for item in items if item.path.suffix != ".ipynb"]
    items[:] = others + sorted(cells, key=place)
