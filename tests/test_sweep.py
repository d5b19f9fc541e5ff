"""A notebook over a grid of parameters: checked before, run on all cores, gone on with later.

Method: a notebook of a few lines notes each of its executions in a file, so that they are counted.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import polars as pl
import pytest

from tests.build import contents
from tradesys.cli import main
from tradesys.records.errors import InvalidValue, StorageError
from tradesys.widgets import sweep as sweeping
from tradesys.widgets.sweep import sweep
from tradesys.widgets.sweep_parameters import grid

ROOT = Path(__file__).parent.parent
SCENARIO = ROOT / "notebooks" / "5_scenario.ipynb"

PARAMETERS = """
number = 1
rate = 0.5
word = "a"
exact: float = 2
loud = False
many = [1, 2]
"""
RUN = """
import json, os, signal, threading
from pathlib import Path

with Path(os.environ["EXECUTED"]).open("a") as executed:
    executed.write(f"{number} {word} {os.getppid()} {os.getpid()}\\n")
if number == 13:
    raise ValueError(f"number={number}\\nis unlucky")
if number == 4 and "INTERRUPT" in os.environ:
    os.kill(int(os.environ["INTERRUPT"]), signal.SIGINT)
    threading.Event().wait()
result = {"square": number**2, "word": {"twice": word * 2}, "number": number + 0, "list": [1, 2]}
display({"application/json": result}, raw=True)
"""


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXECUTED", str(tmp_path / "executed"))
    return write(tmp_path / "tiny.ipynb", PARAMETERS, RUN)


def write(path: Path, parameters: str, *cells: str) -> Path:
    notebook = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    made = [nbformat.v4.new_code_cell(text.strip()) for text in (parameters, *cells)]  # type: ignore[no-untyped-call]
    made[0].metadata.tags = ["parameters"]
    notebook.cells = made
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
    return path


def executions(tmp_path: Path) -> list[str]:
    file = tmp_path / "executed"
    return file.read_text().splitlines() if file.exists() else []


def test_a_kernel_that_does_not_come_up_is_tried_once_more(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, refuses = "Kernel didn't respond in 60 seconds", tmp_path / "refuses.py"
    refuses.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from papermill.cli import papermill\n"
        "times = Path(sys.argv.pop(1))\n"
        "left = int(times.read_text())\n"
        "times.write_text(str(left - 1))\n"
        f'if left: raise RuntimeError("{refused}")\n'
        "papermill()\n"
    )
    times = tmp_path / "times"
    monkeypatch.setattr(sweeping, "_PAPERMILL", (sys.executable, str(refuses), str(times)))
    times.write_text("1")
    assert sweep(notebook, ["number=2"], tmp_path / "out").counts() == {"done": 1}
    assert len(executions(tmp_path)) == 1
    times.write_text("2")
    swept = sweep(notebook, ["number=3"], tmp_path / "out")
    assert swept.frame["error"].to_list() == [f"RuntimeError: {refused}"]


def test_two_run_at_a_time_and_a_failing_one_leaves_the_others(
    notebook: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    swept = sweep(
        notebook,
        ["number=1,2,3,13", "word=a,b,c,d"],
        tmp_path / "out",
        jobs=2,
        progress=lambda *done: told.append(done),
    )
    frame = swept.frame
    assert frame["status"].to_list() == ["done"] * 12 + ["failed"] * 4
    assert set(frame["error"][12:]) == {"ValueError: number=13 is unlucky"}
    assert frame["error"][:12].null_count() == 12
    assert frame["number"].to_list() == [n for n in (1, 2, 3, 13) for _ in "abcd"]
    assert frame["square"].to_list() == [n * n for n in (1, 2, 3) for _ in "abcd"] + [None] * 4
    assert frame["word.twice"].to_list() == ["aa", "bb", "cc", "dd"] * 3 + [None] * 4
    assert frame["list"][0] == "[1, 2]"
    assert set(frame["rate"]) == {0.5}
    assert (frame["seconds"] > 0).all()
    assert swept.metric == "square"
    assert swept.counts() == {"done": 12, "failed": 4}
    assert told == [(n, 16) for n in range(17)]
    assert len({line.split()[2] for line in executions(tmp_path)}) == 16, "whose kernels"
    assert pl.read_parquet(tmp_path / "out/results.parquet").equals(frame)
    assert "<svg" in (tmp_path / "out/results.svg").read_text()
    assert all((tmp_path / "out" / name).is_file() for name in frame["notebook"])
    failed = (tmp_path / "out" / frame["notebook"][15]).read_text()
    assert "is unlucky" in failed


def test_what_is_there_is_not_run_again_unless_the_notebook_has_changed(
    notebook: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out, over = tmp_path / "out", ["number=1,2,13,5", "word=x"]
    first = sweep(notebook, over, out, jobs=1, progress=interrupt)
    assert first.counts() == {"done": 2, "not run": 2}
    assert len(executions(tmp_path)) in (2, 3), "what was begun then is ended"
    assert not list(out.rglob("*running*"))
    (tmp_path / "executed").unlink()
    again = sweep(notebook, over, out, jobs=2)
    assert again.counts() == {"done": 3, "failed": 1}
    assert again.kept == 2
    assert sorted(line.split()[0] for line in executions(tmp_path)) == ["13", "5"]
    assert again.frame["seconds"][:2].equals(first.frame["seconds"][:2])
    (tmp_path / "executed").unlink()
    assert sweep(notebook, [*over[:1], "word=x,y"], out).kept == 3
    assert len(executions(tmp_path)) == 5, "what failed, and what is new"
    write(notebook, PARAMETERS, RUN, "after = 1")
    assert sweep(notebook, ["number=1"], out).kept == 0


@pytest.mark.usefixtures("hears_ctrl_c")
def test_an_interruption_keeps_what_is_done_and_ends_the_kernels(
    notebook: Path, tmp_path: Path
) -> None:
    code = (
        "import os, sys; from tradesys.cli import main\n"
        "if __name__ == '__main__':\n"
        "    os.environ['INTERRUPT'] = str(os.getpid()); main()"
    )
    command = (tmp_path / "command.py", "sweep", notebook, "--set", "number=1..6", "--out")
    (tmp_path / "command.py").write_text(code)
    line = [sys.executable, *map(str, command), str(tmp_path / "out"), "--jobs", "1"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "6 runs: 3 done, 3 not run; see" in " ".join(done.stdout.split())
    assert done.stderr == ""
    last = int(executions(tmp_path)[-1].split()[3])
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)
    whole = sorted(path.name.split("-")[0] for path in (tmp_path / "out" / "runs").iterdir())
    assert whole == ["number=1", "number=2", "number=3"]
    assert sweep(notebook, ["number=1..6"], tmp_path / "out").counts() == {"done": 6}
    assert len(executions(tmp_path)) == 7


def test_a_process_that_dies_fails_its_run_only(notebook: Path, tmp_path: Path) -> None:
    dies = "import signal\nif number == 2:\n    os.kill(os.getppid(), signal.SIGKILL)"
    write(notebook, PARAMETERS, RUN, dies)
    swept = sweep(notebook, ["number=1..3"], tmp_path / "out", jobs=1)
    assert swept.frame["status"].to_list() == ["done", "failed", "done"]
    assert swept.frame["error"][1] == "its process ended with exit status -9"


def test_the_scenario_is_swept_with_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = ["--set", "customers=1,2", "--set", "orders=40"]
    line = ["tradesys", "sweep", str(SCENARIO), *sets, "--out", str(tmp_path), "--chart"]
    monkeypatch.setattr(sys, "argv", [*line, "records_held"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "records_held over customers" in capsys.readouterr().out
    frame = pl.read_parquet(tmp_path / "results.parquet")
    assert frame["audit.verdict"].to_list() == [True, True]
    assert frame["records_held"][0] < frame["records_held"][1]
    tables = pl.read_parquet(tmp_path / "runs" / "*.parquet")
    held = tables.group_by("customers", "system", "orders").agg(pl.col("count").sum())
    assert sorted(held.rows()) == [(1, "c1", 40, 40), (2, "c1", 40, 40), (2, "c2", 40, 40)]


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["numbr=1"], "one of number, rate, word, exact, loud, many; did you mean number?"),
        (["number"], "expected a parameter and its values, like seed=1..5"),
        (["number=1,two"], "number='1,two': expected whole numbers like 1,2,4 or 1..5"),
        (["number=1.5"], "expected whole numbers like 1,2,4 or 1..5"),
        (["number=5..1"], "expected whole numbers like 1,2,4 or 1..5"),
        (["number=1..999999999999"], "expected whole numbers like 1,2,4 or 1..5"),
        (["number="], "expected whole numbers like 1,2,4 or 1..5"),
        (["rate=fast"], "expected finite numbers like 0.5,1,2 or 1..5"),
        (["loud=very"], "expected true, false, or both"),
        (["many=1"], "expected a parameter that is a number, text, true or false"),
        (["number=1", "number=2"], "each parameter once"),
        (["number=1..1000", "rate=1..1000"], "from 1 to 10,000"),
    ],
)
def test_a_wrong_parameter_is_told_before_anything_runs(
    notebook: Path, tmp_path: Path, sets: list[str], said: str
) -> None:
    before = contents(tmp_path)
    with pytest.raises(InvalidValue) as raised:
        sweep(notebook, sets, tmp_path / "out")
    assert said in str(raised.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("number=-1..2,7,7", [-1, 0, 1, 2, 7]),
        ("rate=1..2,0.25", [1.0, 2.0, 0.25]),
        ("exact=1", [1.0]),
        ("word=,1..3", ["", "1..3"]),
        ("loud=true,False", [True, False]),
    ],
)
def test_values_are_of_the_type_of_their_parameter(
    notebook: Path, text: str, values: list[object]
) -> None:
    found = [run.parameters[text.partition("=")[0]] for run in grid(notebook, [text], Path()).runs]
    assert repr(found) == repr(values)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path, "a notebook that exists"),
        (lambda path: path.write_text("{") and path, "a Jupyter notebook"),
        (lambda path: path.write_text("[1]") and path, "a Jupyter notebook"),
        (lambda path: write(path, "# no parameters"), "one with a cell tagged `parameters`"),
    ],
)
def test_what_is_no_notebook_with_parameters_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    with pytest.raises(InvalidValue, match=said):
        sweep(make(tmp_path / "x.ipynb"), ["number=1"], tmp_path / "out")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_a_value_that_no_notebook_can_hold_is_refused(
    notebook: Path, tmp_path: Path, value: str
) -> None:
    with pytest.raises(InvalidValue, match=f"rate='0.5,{value}': expected finite numbers"):
        sweep(notebook, [f"rate=0.5,{value}"], tmp_path / "out")
    assert executions(tmp_path) == []


def test_a_result_that_is_not_a_number_leaves_numbers_what_they_are(tmp_path: Path) -> None:
    result = 'value = {1: 0.5, 2: float("nan"), 3: float("inf")}[number]\n'
    result += 'display({"application/json": {"value": value, "word": word}}, raw=True)'
    write(tmp_path / "tiny.ipynb", PARAMETERS, result)
    out = tmp_path / "out"
    frame = sweep(tmp_path / "tiny.ipynb", ["number=1..3", "word=nan"], out).frame
    assert frame["status"].to_list() == ["done"] * 3
    assert str(frame["value"].to_list()) == "[0.5, nan, inf]"
    assert frame["word"].to_list() == ["nan"] * 3, "a parameter is of the type that it has"
    for name in frame["notebook"]:
        json.loads((out / name).read_text("utf-8"), parse_constant=pytest.fail)


def test_two_sweeps_do_not_share_a_folder(notebook: Path, tmp_path: Path) -> None:
    def another(_: int, __: int) -> None:
        with pytest.raises(StorageError, match="in use"):
            sweep(notebook, ["number=2"], tmp_path / "out")
        raise KeyboardInterrupt

    assert sweep(notebook, ["number=1"], tmp_path / "out", progress=another).kept == 0


def test_a_chart_of_what_is_no_number_of_the_results_is_refused(
    notebook: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidValue, match="did you mean square"):
        sweep(notebook, ["number=1"], tmp_path / "out", metric="sqare")
    assert len(pl.read_parquet(tmp_path / "out/results.parquet")) == 1
