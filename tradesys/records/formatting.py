"""Frames for people: ids as they are written, prices in the currency, times without the rest.

Records hold numbers that machines join on. Nothing computes with what comes out of here.
"""

import re
import sys
from html import unescape
from itertools import cycle

import polars as pl

from tradesys.records.schemas import CURRENCY, PRICE_SCALE, origin

_IDS = ("record_id", "order_id", "request_id", "exec_id", "exec_ref_id")
_PRICES = ("price", "last_px", "cash", "fee")
_TIMES = ("ts", "transact_time")
_AMOUNTS = (
    *("amount", "booked", "uncleared", "reserved"),
    *("opening", "change", "closing", "settled", "unsettled"),
)


def readable(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows for a reader: ids like ``c1-17``, prices like 50.25, times of day.

    :param frame: any frame with columns named as in the records, answers or positions.
    :returns: the same columns; ids, times and statuses as strings, prices and cash as floats.
    """
    columns = [pl.col(n) / PRICE_SCALE for n in _PRICES if n in frame.columns]
    columns += [pl.col(n).dt.strftime("%H:%M:%S%.6f") for n in _TIMES if n in frame.columns]
    if "asset" in frame.columns:
        is_cash = pl.col("asset") == CURRENCY
        scale = pl.when(is_cash).then(float(PRICE_SCALE)).otherwise(1.0)
        columns += [pl.col(n) / scale for n in _AMOUNTS if n in frame.columns]
    return with_ids_written(frame).with_columns(columns)


def with_ids_written(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows, with every record id as text like ``c1-17``."""
    return frame.with_columns(_ids(frame[name]) for name in _IDS if name in frame.columns)


def html(frame: pl.DataFrame) -> str:
    """The rows as polars shows them in a notebook, for a reader: see :func:`show_text_plainly`."""
    return _plainly(readable(frame))


def show_text_plainly() -> None:
    """Let polars frames in this notebook show text without quotes, and at the left.

    Outside of a notebook, do nothing.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if shell:
        formatter = shell.display_formatter.formatters["text/html"]
        formatter.for_type(pl.DataFrame, _plainly)


def _plainly(frame: pl.DataFrame) -> str:
    """The table of a frame: its cells, row by row, text at the left and without quotes."""
    text = frame._repr_html_()
    names = [unescape(name) for name in _NAME.findall(text)]
    right = cycle([name in frame and frame.schema[name].is_numeric() for name in names])
    return _CELL.sub(lambda cell: cell[0] if next(right) else _LEFT.format(*cell.groups()), text)


_NAME = re.compile(r"<th>(.*?)</th>", re.DOTALL)
_CELL = re.compile(r"<(t[hd])>(?:&quot;)?(.*?)(?:&quot;)?</t[hd]>", re.DOTALL)
_LEFT = '<{0} style="text-align: left">{1}</{0}>'


def _ids(column: pl.Series) -> pl.Expr:
    codes = (column.drop_nulls() // 2**48).unique().to_list()
    names = {code: str(origin(code)) for code in codes}
    name = (pl.col(column.name) // 2**48).replace_strict(names, return_dtype=pl.String)
    sequence = (pl.col(column.name) % 2**48).cast(pl.String)
    return pl.concat_str(name, pl.lit("-"), sequence).alias(column.name)
