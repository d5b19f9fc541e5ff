"""The tree of errors: each says what is known to have happened.

Goal: a caller that retries can tell by the error alone whether it may.
Method: the picture in the module's docstring is read line by line and held against the classes.
"""

import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

import tradesys
from tradesys.records import errors
from tradesys.records.errors import (
    DamagedError,
    InvalidValue,
    NotYetReplicated,
    Outcome,
    StorageError,
    TradesysError,
)

ORDER = {"account": "bob", "symbol": "ALFA", "side": "buy", "order_qty": 1, "price": "9"}
LINE = re.compile(r"^ {4}(?P<rails>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: \((?P<base>\w+)\))?(?P<rest>.*)$")


def picture() -> list[tuple[int, str, str | None, str]]:
    """Of each line of the tree: depth, name, built-in base, what follows."""
    lines = [LINE.match(line) for line in (errors.__doc__ or "").splitlines()]
    found = [match for match in lines if match]
    return [(len(m["rails"]) // 4, m["name"], m["base"], m["rest"].strip()) for m in found]


def classes() -> list[type[TradesysError]]:
    """Every error of the module."""
    return [each for each in vars(errors).values() if isinstance(each, type) and _is_error(each)]


def _is_error(each: type) -> bool:
    return issubclass(each, TradesysError)


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    path: list[str] = []
    drawn = {}
    for depth, name, base, _ in picture():
        path[depth:] = [name]
        parents = [path[depth - 1]] if depth else ["Exception"]
        drawn[name] = [*parents, *([base] if base else [])]
    assert drawn == {
        each.__name__: [base.__name__ for base in each.__bases__] for each in classes()
    }


def test_the_tree_says_the_outcome_of_each_error() -> None:
    said = {name: rest for depth, name, _, rest in picture() if depth}
    for each in classes():
        if each is not TradesysError:
            assert said[each.__name__].endswith(each.outcome.value)


@pytest.mark.parametrize("each", classes(), ids=lambda each: each.__name__)
def test_an_error_says_that_it_did_not_happen_unless_it_is_told_otherwise(
    each: type[TradesysError],
) -> None:
    assert each.outcome is Outcome.DID_NOT_HAPPEN


def test_a_very_long_value_is_shown_by_its_ends() -> None:
    error = InvalidValue("account", "x" * 10_000 + "tail", "an account")
    assert len(str(error)) < 200
    assert str(error).startswith("account='xxxx")
    assert str(error).endswith("xxxxtail': expected an account")
    assert error.value == "x" * 10_000 + "tail"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda desk: desk["firn"], "one of c1, c2, c3, s1, s2, firm; did you mean firm?"),
        (lambda desk: desk.partition("C2"), "; did you mean c2?"),
        (lambda desk: desk.as_of(0)["c11"], "; did you mean c1?"),
        (lambda desk: desk.status("c1-0", at="frm"), "; did you mean firm?"),
        (lambda desk: desk.status("c9-0", at="c1"), "an order of c1, c2, c3, like c1-17"),
        (lambda desk: desk.explain("s1-0"), "an order of c1, c2, c3, like c1-17"),
        (lambda desk: desk["c1"].orders("alcie"), "described; did you mean alice?"),
        (lambda desk: desk["c1"].fills(symbol="alfa"), "described; did you mean ALFA?"),
        (lambda desk: desk["c1"].submit(**ORDER | {"account": "Bob"}), "; did you mean bob?"),
        (lambda desk: desk["c1"].submit(**ORDER | {"symbol": "BRV"}), "; did you mean BRVO?"),
    ],
)
def test_a_name_that_is_nearly_right_is_told(call: Callable[[Any], object], said: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        call(tradesys.Network())
    assert str(raised.value).endswith(said)


def test_an_error_that_is_raised_may_know_another_outcome() -> None:
    error = TradesysError("the answer was lost", outcome=Outcome.MIGHT_HAVE)
    assert error.outcome is Outcome.MIGHT_HAVE
    assert TradesysError.outcome is Outcome.DID_NOT_HAPPEN


def test_every_error_is_in_the_public_api() -> None:
    assert {each.__name__ for each in classes()} <= set(tradesys.__all__)


def test_an_invalid_value_names_field_value_and_what_was_expected() -> None:
    error = InvalidValue("price", "5O", "a number")
    assert (error.field, error.value, error.expected) == ("price", "5O", "a number")
    assert str(error) == "price='5O': expected a number"


def test_damage_names_the_file_the_byte_and_why() -> None:
    error = DamagedError("a.arrows", 12_345, "no digest")
    assert (error.path, error.offset, error.reason) == ("a.arrows", 12_345, "no digest")
    assert str(error) == "a.arrows: damaged at byte 12,345: no digest"


def test_an_answer_that_is_not_here_yet_names_the_records_it_waits_for() -> None:
    assert NotYetReplicated("later", ("c1-0", "c1-4")).missing == ("c1-0", "c1-4")


@pytest.mark.parametrize(
    "error",
    [
        InvalidValue("price", 3, "a multiple of the tick"),
        DamagedError("c1/requests.arrows", 12, "what follows does not verify"),
        NotYetReplicated("it is on its way", ("c1-3",)),
        StorageError("the disk is full", outcome=Outcome.MIGHT_HAVE),
    ],
)
def test_an_error_is_the_same_in_another_process(error: TradesysError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - it was made here
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__
    assert again.outcome is error.outcome
