"""What ``inspect`` tells, in words, as JSON, and in a notebook."""

import json
from pathlib import Path

from typer.testing import CliRunner

import tradesys
from tradesys.cli import app

TEXT = "34200.5,1,7,100,1000000,1\n34201,4,7,30,1000000,1\n34202,3,7,70,1000000,1\nnonsense\n"
AGAIN = "34202,3,7,70,1000000,1\n"


def written(folder: Path) -> Path:
    path = folder / "ALFA_2024-06-03_34200000_57600000_message_1.csv"
    path.write_text(TEXT + AGAIN)
    return path


def test_words_json_and_a_notebook_say_the_same(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = tradesys.inspect(path)
    told = CliRunner().invoke(app, ["inspect", str(path), "--json", "-"])
    assert told.exit_code == 0
    said = json.loads(told.stdout)
    assert said == json.loads(json.dumps(found.as_dict()))
    assert (said["events"], said["requests"], said["fills"], said["bad"]) == (4, 2, 1, 1)
    assert said["types"] == {"submission": 1, "execution": 1, "deletion": 2}
    assert {fault["fault"]: fault["lines"] for fault in said["faults"]} == {
        "cancel of a closed order": [5],
        "a line again": [5],
    }
    assert "cancel of a closed order" in str(found)
    assert "LOBSTER messages" in found._repr_html_()


def test_a_mapping_can_be_saved_and_given_again(tmp_path: Path) -> None:
    path, toml = tmp_path / "flow", tmp_path / "map.toml"
    path.write_text("T,Id,BS,Q,P\n1717421400,a,B,100,50.25\n")
    columns = "ts=T,order_id=Id,side=BS,qty=Q,price=P"
    options = ["inspect", str(path), "--symbol", "ALFA"]
    first = CliRunner().invoke(app, [*options, "--map", columns, "--save-map", str(toml)])
    again = CliRunner().invoke(app, [*options, "--map", str(toml)])
    assert first.exit_code == again.exit_code == 0
    assert first.stdout == again.stdout
    assert "1 requests, 0 fills" in first.stdout
