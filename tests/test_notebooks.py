"""The notebooks as others use them: with parameters from outside, and with the exercises solved.

That they run as they stand, and come to the outputs stored in them, is nbval's to test.
"""

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import papermill
import polars as pl
import pytest
from nbclient import NotebookClient
from papermill.exceptions import PapermillExecutionError

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"


def run_scenario(output: Path, **parameters: object) -> dict[str, Any]:
    """Run the scenario in this process, and read its result back from the outputs."""
    notebook = papermill.execute_notebook(
        NOTEBOOKS / "5_scenario.ipynb",
        output / "scenario.ipynb",
        parameters=parameters,
        kernel_name="python3",
        progress_bar=False,
    )
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    (result,) = [
        o["data"]["application/json"] for o in outputs if "application/json" in o.get("data", {})
    ]
    assert isinstance(result, dict)
    return result


def test_scenario_runs_a_session_of_the_size_asked_for(tmp_path: Path) -> None:
    result = run_scenario(tmp_path, customers=2, streets=1, orders=100, seed=7)
    assert result["audit"]["verdict"] is True
    assert set(result["audit"]["checks"].values()) == {True}
    assert list(result["records"]) == ["c1", "c2", "s1", "firm"]
    assert result["orders"] == 100
    assert sum(by_system["c1"] for by_system in result["statuses"].values()) == 100


def test_scenario_replays_a_tape(tmp_path: Path) -> None:
    result = run_scenario(tmp_path, tape=str(ROOT / "data" / "sample"))
    assert result["audit"]["verdict"] is True
    assert list(result["records"]) == ["c1", "c2", "c3", "s1", "s2", "firm"]
    assert result["orders"] == 9_603
    assert {"filled", "canceled"} <= result["statuses"].keys()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"orders": -1}, "orders=-1: expected a whole number from 1 to"),
        ({"customers": "3"}, "customers='3': expected a whole number from 1 to 63"),
        ({"results": "no/such/x.parquet"}, "expected a file in a folder that exists"),
        ({"tape": "no/such/folder"}, "tape='no/such/folder': expected a file or folder that"),
    ],
)
def test_scenario_refuses_a_wrong_parameter(
    tmp_path: Path, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(PapermillExecutionError, match=re.escape(message)):
        run_scenario(tmp_path, **parameters)


def test_the_start_page_leads_to_every_notebook_in_order() -> None:
    page = (NOTEBOOKS / "README.md").read_text(encoding="utf-8")
    table = page.split("## ")[0]
    listed = re.findall(r"^\| \[.*?\]\((.*?)\) \|", table, re.MULTILINE)
    assert listed == sorted(listed)
    assert {path.name for path in NOTEBOOKS.glob("*.ipynb")} == set(listed)
    assert set(re.findall(r"\]\((.*?)\)", page)) == set(listed)
    for name in listed[:7]:
        title = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"][0]["source"]
        (question,) = re.findall(r"^\*(.*\?)\*$", "".join(title), re.MULTILINE)
        assert f"]({name}) | {question} |" in table


def test_the_lab_opens_at_the_start_page_rendered_and_asks_nothing_outside() -> None:
    def told(name: str) -> Any:
        return json.loads((ROOT / ".jupyter" / name).read_text(encoding="utf-8"))

    lab = told("jupyter_lab_config.json")["LabApp"]
    assert (ROOT / lab["default_url"].removeprefix("/lab/tree/")).is_file()
    assert lab["news_url"] == ""
    assert lab["check_for_updates_class"] == "jupyterlab.NeverCheckForUpdate"
    assert lab["extension_manager"] == "readonly"
    settings = told("labconfig/default_setting_overrides.json")
    news = settings["@jupyterlab/apputils-extension:notification"]
    assert news == {"fetchNews": "false", "checkForUpdates": False}
    viewers = settings["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers == {"markdown": "Markdown Preview"}


def test_the_scenario_writes_its_table_where_it_is_told(tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    run_scenario(tmp_path, customers=2, orders=50, results=str(table))
    written = pl.read_parquet(table)
    assert written["system"].unique().sort().to_list() == ["c1", "c2"]
    assert written.filter(pl.col("system") == "c2")["count"].sum() == 50
    assert set(written["orders"]) == {50}
    assert not table.with_suffix(".new").exists()


def test_tables_show_text_without_quotes() -> None:
    shown = [path.read_text(encoding="utf-8") for path in NOTEBOOKS.glob("*.ipynb")]
    assert shown
    assert not any("<td>&quot;" in text for text in shown)


def test_solutions_of_the_tour_solve_its_exercises() -> None:
    notebook = nbformat.read(NOTEBOOKS / "1_tour.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    solutions = 0
    for cell in notebook.cells:
        found = re.search(r"<details>.*?```python\n(.*?)```", cell.source, re.DOTALL)
        if cell.cell_type == "markdown" and found:
            cell.update(cell_type="code", source=found[1], outputs=[], execution_count=None)
            solutions += 1
    assert solutions == 3
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
