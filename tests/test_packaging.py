"""Whichever way the project is installed, it gets what pyproject.toml asks for."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import tradesys

ROOT = Path(__file__).parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ENVIRONMENT: dict[str, Any] = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
LOCK_LINES = (ROOT / "requirements.lock").read_text("utf-8").splitlines()

PYTHON_VERSIONS = ("3.11.0", "3.12.0", "3.13.0")
PLATFORMS = ("linux", "darwin")
CONDA_TO_PYPI = {"python-duckdb": "duckdb"}


def bounds(requirements: list[str]) -> dict[str, SpecifierSet]:
    """Give the bounds by name, and refuse a name that is given twice."""
    parsed = [Requirement(each) for each in requirements]
    by_name: dict[str, SpecifierSet] = {
        canonicalize_name(each.name): each.specifier for each in parsed
    }
    assert len(by_name) == len(parsed)
    return by_name


def asked_for() -> dict[str, SpecifierSet]:
    """Give what pyproject.toml asks for: to run, in notebooks, to develop, and to build."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    lab = extras["lab"] + extras["cluster"] + extras["tapes"]
    dev = PYPROJECT["dependency-groups"]["dev"]
    project = bounds(PYPROJECT["project"]["dependencies"] + lab + dev)
    for name, bound in bounds(PYPROJECT["build-system"]["requires"]).items():
        assert project[name] == bound, f"{name}: the dev group and build-system must agree"
    return project


def locked() -> list[Requirement]:
    return [Requirement(line.rstrip(" \\")) for line in LOCK_LINES if re.match(r"\w", line)]


def test_a_system_needs_nothing_of_what_notebooks_need(tmp_path: Path) -> None:
    lab = bounds(PYPROJECT["project"]["optional-dependencies"]["lab"])
    barred = sorted({name.replace("-python", "").replace("-", "_") for name in lab} | {"IPython"})
    code = f"""
import sys

class Bar:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {barred}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Bar())
import tradesys
desk = tradesys.Network(data="run")
order = desk["c1"].submit(account="alice", symbol="ALFA", side="buy", order_qty=100, price="50.25")
desk.run()
assert desk["c3"].status(order).ord_status == "new" and desk.audit()
desk.close()
from tradesys.cli import main
sys.argv = ["tradesys", "sweep", "x.ipynb", "--set", "a=1", "--out", "out"]
main()
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "pip install 'tradesys[lab]'" in ran.stderr, ran.stderr


def test_conda_environment_asks_for_the_same_as_pyproject() -> None:
    conda = [each for each in ENVIRONMENT["dependencies"] if isinstance(each, str)]
    (pip,) = [each["pip"] for each in ENVIRONMENT["dependencies"] if isinstance(each, dict)]
    assert pip[-1] == "-e ."
    assert CONDA_TO_PYPI.keys() <= bounds(conda).keys(), "every exception is met"
    environment = {
        CONDA_TO_PYPI.get(name, name): bound for name, bound in bounds(conda + pip[:-1]).items()
    }
    assert environment.pop("python") == SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert environment.pop("pip") == SpecifierSet()
    assert environment == asked_for()


def test_lock_gives_one_admitted_version_of_everything_asked_for_on_every_python() -> None:
    for python_version in PYTHON_VERSIONS:
        for platform in PLATFORMS:
            machine = {
                "python_full_version": python_version,
                "python_version": python_version.rpartition(".")[0],
                "sys_platform": platform,
            }
            versions: dict[str, str] = {}
            for requirement in locked():
                if requirement.marker is None or requirement.marker.evaluate(machine):
                    assert requirement.name not in versions, f"{requirement} on {machine}"
                    (pin,) = requirement.specifier
                    assert pin.operator == "=="
                    versions[canonicalize_name(requirement.name)] = pin.version
            for name, bound in asked_for().items():
                assert versions[name] in bound, f"{name} {versions[name]} on {machine}"


def test_every_locked_package_has_hashes() -> None:
    pin = re.compile(r"[a-z0-9.-]+==[^\s;]+( ; [^\\]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    lines = [line for line in LOCK_LINES if not line.startswith("#")]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert pin.fullmatch(line) or digest.fullmatch(line), line
        assert line.endswith("\\") == bool(following.startswith(" ")), line


def test_lock_names_no_place_to_download_from() -> None:
    for line in LOCK_LINES:
        assert not re.search(r"://|file:|--index|--extra|--find|--trusted| @ |^[./]", line), line


def test_make_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (phony,) = re.findall(r"^\.PHONY: (help .+)$", makefile, re.MULTILINE)
    listed = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert re.findall(r"^make ([\w-]+)  +\S", listed, re.MULTILINE) == phony.split()


def test_readme_names_only_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = set(re.findall(r"\bmake (\w+)`", (ROOT / "README.md").read_text("utf-8")))
    assert {"demo", "test"} <= named
    assert named <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))


def test_public_names_are_sorted_and_exist() -> None:
    assert list(tradesys.__all__) == sorted(set(tradesys.__all__))
    for name in tradesys.__all__:
        assert hasattr(tradesys, name), name
