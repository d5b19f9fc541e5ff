"""SQL over what one system holds and answers: polars runs the query, on the frames as they are."""

import re
from collections.abc import Callable, Mapping

import polars as pl

from tradesys.records import argument_checks as given
from tradesys.records.errors import InvalidValue

Relations = Mapping[str, Callable[[], pl.DataFrame]]
"""What a query may name, and what gives each: called only for what a query does name."""


def named(query: object, relations: Relations) -> dict[str, pl.DataFrame]:
    """The frames of those relations that a query names.

    :raises InvalidValue: it is no text, or names none of them.
    """
    text = given.text("sql", query, "a query like select symbol, sum(last_qty) from executions …")
    if re.match(r"\s*(alter|create|delete|drop|insert|truncate|update)\b", text, re.IGNORECASE):
        raise InvalidValue("sql", text, "a query, which changes nothing: records never change")
    words = {word.casefold() for word in re.findall(r"\w+", text)}
    found = {name: frame() for name, frame in relations.items() if name in words}
    if not found:
        raise InvalidValue("sql", text, f"a query from {', '.join(relations)}")
    return found


def run(query: str, frames: Mapping[str, pl.DataFrame], known: Relations) -> pl.DataFrame:
    """The result of a query over the frames that it names.

    :raises InvalidValue: polars cannot run it; the message says which tables, or columns, there
        are.
    """
    try:
        return pl.SQLContext(frames).execute(query, eager=True)
    except pl.exceptions.PolarsError as error:
        why = str(error).partition("\n")[0]
        missing = re.search(r"relation '(.*)' was not found", why)
        there_are = f"a query from {', '.join(known)}"
        if missing:
            there_are += given.nearest(missing[1], known)
        raise InvalidValue("sql", query, f"{there_are} ({why})") from error
