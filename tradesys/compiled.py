"""Loops over plain arrays that run as machine code: compiled once, kept beside the source."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, compiled at its first call for the types that it is called with."""
    return cast("Callable[P, R]", numba.njit(function, cache=True, nogil=True))
