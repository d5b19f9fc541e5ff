"""Goal: the command line says what happened, in words or as one JSON object, and by exit status."""

import contextlib
import datetime as dt
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.build import filled, network, submit
from tradesys.cli import app
from tradesys.cli.printing import tell
from tradesys.network import Network
from tradesys.simulation import many_seeds as seeds

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data" / "sample"


def tradesys(*args: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tradesys", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    done = tradesys("replay", SAMPLE, "--data", folder, "--json", folder.parent / "result.json")
    assert done.returncode == 0, done.stderr
    return folder


def test_replay_tells_a_person_what_happened(run: Path) -> None:
    done = tradesys("replay", SAMPLE, "--batch", 5000)
    assert done.returncode == 0
    assert "20,000 events" in done.stdout
    assert "in memory only" in done.stdout
    assert done.stderr == ""


def test_replay_writes_one_json_object(run: Path) -> None:
    result = json.loads((run.parent / "result.json").read_text())
    assert result["events"] == 20_000
    assert result["audit"]["verdict"] is True
    assert result["systems"]["c1"]["requests"] == result["systems"]["firm"]["requests"]
    names = "events orders executions ignored seconds events_per_second statuses systems audit"
    assert set(names.split()) <= result.keys()


def test_json_on_stdout_is_all_there_is_on_stdout() -> None:
    done = tradesys("replay", SAMPLE, "--json", "-", "--partition", "c1:0.33-0.66")
    assert done.returncode == 0
    assert json.loads(done.stdout)["audit"]["verdict"] is True


def test_status_is_answered_at_the_system_that_is_asked(run: Path) -> None:
    done = tradesys("status", run, "c1-0", "--at", "c2", "--json", "-")
    (answer,) = json.loads(done.stdout)["answers"]
    assert answer["system"] == "c2"
    assert tradesys("status", run, "c1-0").stdout.count("asked at") == 3


def test_ids_are_told_as_text_and_numbers_so_that_a_double_can_hold_them(run: Path) -> None:
    done = tradesys("statement", run, "A007", "--json", "-")
    told = json.loads(done.stdout)
    assert {fill["exec_id"].partition("-")[0] for fill in told["fills"]} == {"v1"}

    def numbers(value: object) -> list[int]:
        if isinstance(value, dict | list):
            values = value.values() if isinstance(value, dict) else value
            return [n for each in values for n in numbers(each)]
        return [value] if isinstance(value, int) else []

    assert numbers(told)
    assert all(n == int(float(n)) for n in numbers(told))


@pytest.mark.parametrize("number", [2**53 - 1, 1 - 2**53, 2**53, -(2**53), 2**63 - 1])
def test_a_number_that_a_double_would_round_is_told_as_text(
    capsys: pytest.CaptureFixture[str], number: int
) -> None:
    tell("-", {"amount": number, "each": [{"cash": (number,)}]}, lambda: None)
    expected = number if abs(number) < 2**53 else str(number)
    told = {"amount": expected, "each": [{"cash": [expected]}]}
    assert json.loads(capsys.readouterr().out) == told


def test_audit_reads_the_files(run: Path) -> None:
    done = tradesys("audit", run, "--json", "-")
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["verdict"] is True


def test_what_a_crash_left_under_way_is_unknown_until_the_folder_is_run(tmp_path: Path) -> None:
    with network(2, 2, data=tmp_path / "run") as desk:
        filled(desk)
        submit(desk["c1"])
        desk.step()
        submit(desk["c2"], account="bob", side="sell", order_qty=50)
        desk.venue.send(desk["c2"].outbox().to_batches()[0])
        shutil.copytree(tmp_path / "run", tmp_path / "crashed")
    crashed = tmp_path / "crashed"
    for _ in range(2):
        done = tradesys("audit", crashed, "--json", "-")
        assert done.returncode == 1
        verdicts = {c["verdict"] for c in json.loads(done.stdout)["checks"].values()}
        assert verdicts == {True, None}, "an audit changes nothing"
    done = tradesys("run", crashed, "--json", "-")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] is True
    assert told["moved"] > 0
    assert tradesys("audit", crashed).returncode == 0
    assert "0 records moved" in tradesys("run", crashed).stdout


@pytest.mark.parametrize("command", ["audit", "run", "status", "verify", "sample", "replay"])
def test_a_bar_is_shown_to_a_person_only_and_goes_away(
    run: Path, tmp_path: Path, command: str
) -> None:
    args = {"status": (run, "c1-0"), "sample": (tmp_path / "day",), "replay": (SAMPLE,)}
    line = [command, *map(str, args.get(command, (run,)))]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tradesys", *line],
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal that nobody holds any more
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    told, _ = process.communicate()
    assert process.returncode == 0
    assert told
    assert b"\x1b" not in told
    assert b"ing" in shown, "opening, auditing, reading, generating, replaying"
    assert shown.rstrip().endswith(b"\x1b[2K"), "the line is cleared at the end"


def test_demo_ends_well(tmp_path: Path) -> None:
    done = tradesys("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "20,000 events" in done.stdout
    assert (tmp_path / "data/demo/one-order/c1/authoritative/requests.arrows").is_file()


def test_sample_writes_a_day(tmp_path: Path) -> None:
    assert tradesys("sample", tmp_path / "day", "--events", 2000).returncode == 0
    assert len(list((tmp_path / "day").glob("*_message_*"))) == 4


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ("status", "{run}", "c1-99999999"),
            "expected the id of an order; c1 has taken c1-0 to c1-",
        ),
        (
            ("status", "{run}", "c1-0", "--as-of", "2000-01-01"),
            "order='c1-0': expected the id of an order; c1 has taken none",
        ),
        (("status", "{run}", "order"), "expected an id like c1-17"),
        (("status", "{run}", "xx-0"), "order='xx-0': expected an id like c1-17"),
        (("status", "{run}", "c9-0"), "order='c9-0': expected the id of an order of c1, c2, c3"),
        (("status", "{run}", "5"), "order='5': expected the id of an order of c1, c2, c3"),
        (("statement", "{run}", "A07"), "an account the firm has described; did you mean A0"),
        (("export", "{run}", "--parquet", "{run}/x", "--at", "firn"), "did you mean firm?"),
        (("verify", "{run}/nowhere"), "expected a folder that a run has written"),
        (
            ("replay", "/nonexistent"),
            "path='/nonexistent': expected a file or a folder that exists",
        ),
        (("status", "{run}", "c1-0", "--at", "c9"), "expected one of c1, c2, c3"),
        (("audit", "{run}/c1"), "expected a folder with the files of a network"),
        (("run", "{run}/c1"), "expected a folder with the files of a network"),
        (("audit", "{run}", "--json", "{run}/c1"), "expected a file in a folder that exists, or -"),
        (("sample", "{run}/network.arrows"), "{run}/network.arrows: File exists"),
        (
            ("replay", "data/sample", "--data", "{run}/network.arrows"),
            "expected a folder, or a path",
        ),
        (("replay", "data/sample", "--customers", "0"), "from 1 to 63"),
        (("replay", "data/sample", "--partition", "c9:0.1-0.2"), "expected one of c1, c2, c3"),
        (("replay", "{run}"), "message"),
        (("replay", "data/sample", "--format", "tea-leaves"), "expected one of lobster"),
        (("replay", "data/sample", "--data", "{run}"), "empty or not there"),
    ],
)
def test_an_error_is_one_line_and_exit_status_2(
    run: Path, args: tuple[str, ...], said: str
) -> None:
    done = tradesys(*(a.format(run=run) for a in args))
    assert done.returncode == 2
    assert said.format(run=run) in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_the_exit_status_is_1_where_the_audit_is_false(run: Path, tmp_path: Path) -> None:
    forged = tmp_path / "forged"
    shutil.copytree(run, forged)
    with Network.open(forged) as desk:
        leg = {"account": "A001", "asset": "USD", "amount": 5}
        desk.firm.record("postings", [leg | {"settle_date": dt.date(2024, 6, 3)}])
    done = tradesys("audit", forged)
    assert done.returncode == 1
    assert "USD sums to 5" in done.stdout


def test_the_exit_status_is_1_where_a_tape_could_not_be_recorded(tmp_path: Path) -> None:
    rows = "".join(f"{34_200 + i}.5,1,{i + 1},100,1000{i},1\n" for i in range(4))
    (tmp_path / "PNNY_2021-06-21_34200000_57600000_message_1.csv").write_text(rows)
    done = tradesys("replay", tmp_path, "--json", "-")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["verdict"], told["audit"]["verdict"]) == (False, True)
    assert sum(told["not_recorded"].values()) == 3
    said = " ".join(tradesys("replay", tmp_path).stdout.split())
    assert "3 of 4 requests of the tape could not be recorded" in said
    assert "3 price: expected a multiple of the tick size, 0.01" in said


def test_the_demo_deletes_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = tradesys("demo", "--data", tmp_path)
    assert done.returncode == 2
    assert (tmp_path / "thesis.txt").exists()


def test_a_run_that_cannot_be_told_is_not_begun(tmp_path: Path) -> None:
    data = tmp_path / "run"
    assert tradesys("replay", SAMPLE, "--data", data, "--batch", 0).returncode == 2
    json_file = tmp_path / "no" / "x.json"
    assert tradesys("replay", SAMPLE, "--data", data, "--json", json_file).returncode == 2
    assert not data.exists()


def test_a_day_is_ended_once_and_an_account_is_told_of_it(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    first, second = (
        json.loads(tradesys("end-of-day", folder, "--json", "-").stdout) for _ in range(2)
    )
    assert first["verdict"] is second["verdict"] is True
    assert first["expired"] > 0
    assert second["expired"] == second["moved"] == 0
    assert set(first["trial_balance"].values()) == {0}
    assert "0 orders expired, 0 records moved" in tradesys("end-of-day", folder).stdout
    done = tradesys("statement", folder, "A007", "--day", "2024-06-03")
    assert done.stdout.startswith("A007 on 2024-06-03")
    assert "unsettled" in done.stdout
    told = json.loads(tradesys("statement", folder, "A007", "--json", "-").stdout)
    assert told["day"] == "2024-06-03"
    (cash,) = [row for row in told["balances"] if row["asset"] == "USD"]
    paid = sum(row["cash"] - row["fee"] for row in told["fills"])
    assert cash["closing"] == cash["settled"] + paid
    assert tradesys("statement", folder, "mallory").returncode == 2


def test_a_statement_fits_a_terminal_and_gives_prices_with_cents(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = tradesys("statement", run, "A007").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    fills = [line for line in lines if " trade " in line]
    assert fills
    time, price, cash = r"\d\d:\d\d:\d\d\.\d{3}", r"[\d,]+\.\d\d", r"-?[\d,]+\.\d\d"
    row = re.compile(rf" {time}  trade +c\d-\d+ +[A-Z]{{4}} +{price} +-?[\d,]+ +{cash} +0 *")
    assert [line for line in fills if not row.fullmatch(line)] == []
    assert "times in America/New_York" in "".join(lines)
    ends = [line.split()[0] for line in lines if line.split()[:1] in (["opening"], ["closing"])]
    assert ends == ["opening", "closing"]


def test_status_says_which_systems_do_not_know_the_order_yet(tmp_path: Path) -> None:
    with network(customers=2, data=tmp_path / "run") as desk:
        desk.partition("c1")
        submit(desk["c1"])
    told = tradesys("status", str(tmp_path / "run"), "c1-0")
    assert told.returncode == 0
    assert "asked at c1" in told.stdout
    assert "c2 holds 0 requests of c1" in " ".join(told.stdout.split())


def test_the_first_seed_that_is_not_true_is_replayed_in_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = seeds.run_seed(1, orders=4, faults=1)
    failed = [
        replace(true, seed=n, verdict=False, found={"a rule": ("is broken",)}) for n in (3, 2)
    ]
    monkeypatch.setattr(seeds, "run_seeds", lambda *_, **__: iter([true, *failed]))
    monkeypatch.setattr(seeds, "run_plan", lambda _: failed[0])
    result = CliRunner().invoke(app, ["simulate", "--seeds", "3", "--notebooks", str(tmp_path)])
    assert result.exit_code == 1
    assert "seed 2: a rule: is broken" in result.output
    notebook = (tmp_path / "seed-2.ipynb").read_text()
    assert "a rule (is broken)" in notebook
    assert "0 requests and 0 faults remain" in notebook


def test_bench_measures_this_machine_and_leaves_nothing(tmp_path: Path) -> None:
    done = tradesys("bench", "--quick", "--data", tmp_path / "disk", "--json", tmp_path / "told")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads((tmp_path / "told").read_text())
    assert told["events"] == 20_000
    assert told.pop("machine")["cores"] > 0
    assert all(value > 0 for value in told.values())
    assert told["submit_to_visible_at_all_ms_p50"] <= told["submit_to_visible_at_all_ms_p99"]
    assert f"{told['events_per_second']:,}" in done.stdout
    assert not list((tmp_path / "disk").iterdir())
