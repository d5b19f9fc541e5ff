"""What a caller hands in, checked before anything is done with it.

A value of another type than was asked for is told with its field, itself and what was expected,
as a value is that no rule allows.
"""

import ast
import difflib
import operator
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import SupportsIndex, TypeVar

from tradesys.records.errors import InvalidValue

_T = TypeVar("_T")
_INT64 = 1 << 63
_LISTED_MAX = 24  # names in a message


def whole(field: str, value: object, least: int, most: int = _INT64 - 1, *, of: str = "") -> int:
    """A whole number within bounds; no bool, no float, no text.

    :param of: what is counted or in which unit, for the message.
    :raises InvalidValue: it is anything else.
    """
    number = number_of(value)
    if number is not None and least <= number <= most:
        return number
    bounds = f"from {least:,} to {most:,}" if most < _INT64 - 1 else f"of at least {least:,}"
    raise InvalidValue(field, value, f"a whole number{of and f' of {of},'} {bounds}")


def number_of(value: object) -> int | None:
    """The whole number that a value is; None where it is anything else, as a bool is."""
    if type(value) is int:
        return value  # by far the most frequent, and asking whether it has an index takes long
    if not isinstance(value, SupportsIndex) or isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except Exception:  # noqa: BLE001 - an array of several has none; what others raise is theirs
        return None


def text(field: str, value: object, expected: str = "text") -> str:
    """Text that is not empty, and that a file can hold."""
    found = text_of(value)
    if not found:
        raise InvalidValue(field, value, expected)
    return found


def text_of(value: object) -> str | None:
    """The plain text that a value is; None where it is anything else, or half a surrogate pair."""
    if type(value) is not str:
        if not isinstance(value, str):
            return None
        value = str.__str__(value)  # a kind of text of its own may compare as it likes
    is_whole = value.isascii() or value == value.encode(errors="replace").decode()
    return value if is_whole else None


def texts(
    field: str, value: object, of: str, rule: Callable[[str, object], str] = text
) -> tuple[str, ...]:
    """A list of texts, each given once; not one text, which is a sequence of letters.

    :param rule: what each of them has to be.
    """
    expected = f"a list of {of}, each given once"
    if isinstance(value, str | Mapping) or not isinstance(value, Collection):
        raise InvalidValue(field, value, expected)
    try:
        listed = list(value)
    except Exception:  # noqa: BLE001 - an array of no dimension has none; others raise their own
        raise InvalidValue(field, value, expected) from None
    found = tuple(rule(field, each) for each in listed)
    if len(set(found)) < len(found):
        raise InvalidValue(field, value, expected)
    return found


def one_of(field: str, value: object, known: Collection[str], expected: str = "one of {}") -> str:
    """A name that is among those known.

    :param expected: what the error says; ``{}`` in it stands for all names.
    :raises InvalidValue: it is another one; the message says which it may be meant for.
    """
    found = text_of(value)
    if found is not None and found in known:
        return found
    listed = [*known] if len(known) <= _LISTED_MAX else [*islice(known, _LISTED_MAX), "…"]
    raise InvalidValue(field, value, expected.format(", ".join(listed)) + nearest(value, known))


def parameters(cells: Iterable[str], known: Collection[str]) -> None:
    """The parameters that papermill has put into a notebook are some that it has.

    papermill itself only warns of one that is not.

    :param cells: the source of the cells that have run, as the notebook's own ``In`` has them.
    :raises InvalidValue: it is another.
    """
    for cell in cells:
        for line in ast.parse(cell).body if cell.startswith("# Parameters") else ():
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                one_of("parameter", line.targets[0].id, known)


def nearest(value: object, known: Iterable[str]) -> str:
    """Which of the names known was meant, as the end of a message; nothing if none is near."""
    name = text_of(value)
    if name is None or len(name) > 100:
        return ""
    same = {name.casefold(): name for name in islice(known, 10_000)}
    found = difflib.get_close_matches(name.casefold(), same, 1)
    return f"; did you mean {same[found[0]]}?" if found else ""


def folder(field: str, value: object) -> Path:
    """A path, as text or as a path object; not the empty text, nor one with a NUL in it."""
    path = text_of(os.fspath(value) if isinstance(value, os.PathLike) else value)
    if path and "\0" not in path:
        return Path(path)
    raise InvalidValue(field, value, "a path, as text or a Path")


def a(
    kind: type[_T],
    field: str,
    value: object,
    expected: str,
    rule: Callable[[_T], bool] = lambda _: True,
) -> _T:
    """A value of a type that follows a rule.

    :raises InvalidValue: it is of another type, or breaks the rule.
    """
    if isinstance(value, kind) and rule(value):
        return value
    raise InvalidValue(field, value, expected)
