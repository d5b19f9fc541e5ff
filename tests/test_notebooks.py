"""The notebooks as others use them: with parameters, with the exercises solved, as pages.

That they run as they stand, and come to the outputs stored in them, is nbval's to test.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import papermill
import polars as pl
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat.sign import NotebookNotary
from papermill.exceptions import PapermillExecutionError

from tradesys.venue.tapes.sample_tape import generate

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
ALL = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
PAGES = [name for name in ALL if name != "app"]  # that one is the desk and nothing else


def read(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def is_solution(cell: Any) -> bool:
    return cell.cell_type == "markdown" and "<details>" in cell.source


COURSE = [name for name in ALL if any(map(is_solution, read(name).cells))]
"""Those with exercises."""


def outputs(name: str) -> list[tuple[Any, Any]]:
    """Each output of a notebook with its cell."""
    return [(cell, out) for cell in read(name).cells for out in cell.get("outputs", [])]


def run_scenario(output: Path, **parameters: object) -> dict[str, Any]:
    """Run the scenario in this process, and read its result back from the outputs."""
    notebook = papermill.execute_notebook(
        NOTEBOOKS / "5_scenario.ipynb",
        output / "scenario.ipynb",
        parameters=parameters,
        kernel_name="python3",
        start_timeout=600,
        progress_bar=False,
    )
    found = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    (result,) = [
        o["data"]["application/json"] for o in found if "application/json" in o.get("data", {})
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
        ({"custmers": 3}, "did you mean customers?"),
        ({"results": "no/such/x.parquet"}, "expected a file in a folder that exists"),
        ({"results": "."}, "results='.': expected a file in a folder that exists"),
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
    for name in listed[:8]:
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


@pytest.mark.parametrize("tape", ["no/such/file.csv", 5])
def test_the_tape_refuses_a_wrong_parameter(tmp_path: Path, tape: object) -> None:
    message = re.escape(f"tape={tape!r}: expected ")
    with pytest.raises(PapermillExecutionError, match=message):
        run_tape(tmp_path, tape=tape)


@pytest.mark.parametrize(("name", "value"), [("minutes", 1), ("tape", 5), ("step_s", "5")])
def test_the_market_refuses_a_wrong_parameter(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(PapermillExecutionError, match=re.escape(f"{name}={value!r}: expected ")):
        run_market(tmp_path, **{name: value})


def test_the_market_may_be_drawn_from_a_tape_of_ones_own(tmp_path: Path) -> None:
    generate(tmp_path / "day", seed=7, events=4000, symbols=("ECHO",))
    notebook = run_market(tmp_path, tape=str(tmp_path / "day"), minutes=10, step_s=20, seed=3)
    assert "ECHO: shares ahead of an order" in nbformat.writes(notebook)  # type: ignore[no-untyped-call]


def run_market(output: Path, **parameters: object) -> Any:
    return papermill.execute_notebook(
        NOTEBOOKS / "8_market.ipynb",
        output / "market.ipynb",
        parameters=parameters,
        kernel_name="python3",
        start_timeout=600,
        progress_bar=False,
    )


def test_the_tape_may_be_ones_own(tmp_path: Path) -> None:
    generate(tmp_path / "day", seed=7, events=400, symbols=("ECHO", "FOXT"))
    notebook = run_tape(tmp_path, tape=str(tmp_path / "day"), symbol="FOXT", customers=2)
    assert "FOXT: what rests at which price" in nbformat.writes(notebook)  # type: ignore[no-untyped-call]


def run_tape(output: Path, **parameters: object) -> Any:
    return papermill.execute_notebook(
        NOTEBOOKS / "6_tape.ipynb",
        output / "tape.ipynb",
        parameters=parameters,
        kernel_name="python3",
        start_timeout=600,
        progress_bar=False,
    )


def test_exercises_have_solutions() -> None:
    asked = {n for n in ALL if any("# Your turn." in cell.source for cell in read(n).cells)}
    assert asked == set(COURSE) != set()


@pytest.mark.parametrize("name", COURSE)
def test_solutions_solve_the_exercises(name: str) -> None:
    notebook = read(name)
    solutions = 0
    for cell in notebook.cells:
        if is_solution(cell):
            found = re.findall(r"```python\n(.*?)```", cell.source, re.DOTALL)
            cell.update(cell_type="code", outputs=[], execution_count=None)
            cell.source = "\n".join(found)
            solutions += 1
    assert solutions >= 2
    NotebookClient(notebook, kernel_name="python3", timeout=600, startup_timeout=600).execute()


@pytest.mark.parametrize("name", PAGES)
def test_a_notebook_begins_with_its_title_and_its_question(name: str) -> None:
    title, _, question, *_ = read(name).cells[0].source.split("\n")
    assert title.startswith("# ")
    assert re.fullmatch(r"\*.+\?\*", question)


@pytest.mark.parametrize("name", ALL)
def test_outputs_are_stored_and_are_none_of_this_machine(name: str) -> None:
    found = outputs(name)
    assert found
    for cell, out in found:
        assert out.output_type != "error", cell.id
        assert out.get("name") != "stderr", cell.id
        assert not re.search(r" at 0x[0-9a-f]+|/tmp/|/home/|/work/", str(out)), cell.id


@pytest.mark.parametrize("name", ALL)
def test_pictures_are_drawn_and_not_left_to_a_script(name: str) -> None:
    kinds = {kind for _, out in outputs(name) for kind in out.get("data", {})}
    plain = {"text/plain", "text/html", "text/markdown", "image/svg+xml", "application/json"}
    assert kinds <= plain | {"image/png"}
    for cell, out in outputs(name):
        data = out.get("data", {})
        assert ("image/svg+xml" in data) == ("image/png" in data), f"{cell.id}: for who trusts not"
    shown = "".join(str(out.get("data", {}).get("text/html", "")) for _, out in outputs(name))
    assert "<script" not in shown


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_a_notebook_loads_nothing(name: str) -> None:
    """As `make html` writes it. Mermaid's loader asks for something only for a diagram."""
    page, _ = HTMLExporter(mathjax_url="", require_js_url="").from_filename(  # type: ignore[no-untyped-call]
        str(NOTEBOOKS / f"{name}.ipynb")
    )
    loads = r"<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)\s*=\s*[\"']?(?:https?:)?//"
    assert not re.search(loads, page)
    assert not re.search(r"@import|url\([\"']?(?:https?:)?//", page)
    assert 'class="mermaid"' not in page


def test_make_setup_trusts_the_notebooks_of_the_project(tmp_path: Path) -> None:
    rule = (ROOT / "Makefile").read_text(encoding="utf-8").split("\n$(TRUSTED):")[1]
    assert "$(BIN)/jupyter trust notebooks/*.ipynb" in rule
    files = [str(NOTEBOOKS / f"{name}.ipynb") for name in ALL]
    assert not any(trusted(tmp_path))
    for _ in range(2):  # again is no harm
        environ = os.environ | {"JUPYTER_DATA_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "nbformat.sign", *files]
        subprocess.run(command, check=True, env=environ, capture_output=True)
    assert all(trusted(tmp_path))


def trusted(folder: Path) -> list[bool]:
    """Of each notebook, whether Jupyter with this folder for its data trusts it."""
    notary = NotebookNotary(data_dir=str(folder))  # type: ignore[no-untyped-call]
    return [notary.check_signature(read(name)) for name in ALL]  # type: ignore[no-untyped-call]


def test_make_html_writes_the_pages_as_they_are_tested_here() -> None:
    rule = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nhtml:")[1].split("\n\n")[0]
    assert "--HTMLExporter.mathjax_url= --HTMLExporter.require_js_url=" in rule
