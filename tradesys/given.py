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

from tradesys.errors import InvalidValue

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
    bounds = f"from {least} to {most}" if most < _INT64 - 1 else f"of at least {least}"
    raise InvalidValue(field, value, f"a whole number{of and f' of {of},'} {bounds}")


def number_of(value: object) -> int | None:
    """The whole number that a value is; None where it is anything else, as a bool is."""
    if type(value) is int:
        return value  # by far the most frequent, and asking whether it has an index takes long
    if not isinstance(value, SupportsIndex) or isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:  # an array has an index only if it is of one number
        return None


def text(field: str, value: object, expected: str = "text") -> str:
    """Text that is not empty, and that a file can hold."""
    return a(str, field, value, expected, lambda found: bool(found) and is_text(found))


def is_text(value: object) -> bool:
    """Whether it is text that a file can hold: no half of a surrogate pair."""
    return isinstance(value, str) and (
        value.isascii() or value == value.encode(errors="replace").decode()
    )


def texts(field: str, value: object, of: str, but: Collection[str] = ()) -> tuple[str, ...]:
    """A list of texts, each given once; not one text, which is a sequence of letters.

    :param but: texts that stand for something else already.
    """
    expected = f"a list of {of}, each given once"
    if isinstance(value, str | Mapping) or not isinstance(value, Collection):
        raise InvalidValue(field, value, expected)
    found = tuple(text(field, each, f"{expected}, each as text") for each in value)
    if len(set(found)) < len(found):
        raise InvalidValue(field, value, expected)
    for name in found:
        if name in but:
            raise InvalidValue(field, name, f"other {of} than {', '.join(but)}, the firm's own")
    return found


def one_of(field: str, value: object, known: Collection[str], expected: str = "one of {}") -> str:
    """A name that is among those known.

    :param expected: what the error says; ``{}`` in it stands for all names.
    :raises InvalidValue: it is another one; the message says which it may be meant for.
    """
    if isinstance(value, str) and value in known:
        return value
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
    if not isinstance(value, str) or len(value) > 100:
        return ""
    same = {name.casefold(): name for name in islice(known, 10_000)}
    found = difflib.get_close_matches(value.casefold(), same, 1)
    return f"; did you mean {same[found[0]]}?" if found else ""


def folder(field: str, value: object) -> Path:
    """A path, as text or as a path object; not the empty text."""
    if isinstance(value, str | os.PathLike) and isinstance(path := os.fspath(value), str) and path:
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
