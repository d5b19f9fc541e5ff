"""Goal: what the README says can be typed in, works as it says."""

import ast
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
ROOT = Path(__file__).parent.parent


def test_the_python_of_the_readme_prints_what_its_comments_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, *others = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for each in (code, *others):
        exec(compile(each, "README.md", "exec"), {})  # noqa: S102, the README is ours
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("c1-0 buy 100 ALFA: new, 0 done, 100 open (asked at c3)")
    told = re.findall(r"^print\(c1.*# (\w+ \w+)$", code, re.MULTILINE)
    assert printed[1:] == told == ["new canceled", "canceled canceled"]


def test_every_module_has_a_room_in_the_picture() -> None:
    rooms = re.findall(r"^\| (`.*?) \|", README.split("## The rooms")[1], re.MULTILINE)
    named = {name.strip("/") for room in rooms for name in re.findall(r"`([\w/]+)`", room)}
    modules = {p.stem for p in (ROOT / "tradesys").glob("*.py") if not p.stem.startswith("__")}
    modules |= {p.name for p in (ROOT / "tradesys").iterdir() if (p / "__init__.py").is_file()}
    assert named == modules


def test_imports_point_upward_in_the_picture() -> None:
    rooms = re.findall(r"^\| (`.*?) \|", README.split("## The rooms")[1], re.MULTILINE)
    order = {
        name.strip("/"): row
        for row, room in enumerate(rooms)
        for name in re.findall(r"`([\w/]+)`", room)
    }
    wrong = [
        f"{name} imports {imported}"
        for name, row in order.items()
        for file in _sources(name)
        for imported in _imports(file)
        if order.get(imported, -1) > row
    ]
    assert not wrong


def _sources(name: str) -> list[Path]:
    module = ROOT / "tradesys" / f"{name}.py"
    return [module] if module.is_file() else sorted((ROOT / "tradesys" / name).rglob("*.py"))


def _imports(file: Path) -> set[str]:
    nodes = [*ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    modules = [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)]
    modules += [name.name for n in nodes if isinstance(n, ast.Import) for name in n.names]
    return {name.split(".")[1] for name in modules if name.startswith("tradesys.")}
