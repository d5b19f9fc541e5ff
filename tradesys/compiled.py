"""Python functions compiled to machine code (numba), with their types kept.

What is compiled is kept beside the source or, where that may not be written, in the user's own
folder for such things; several processes may compile at once. Where neither can be written, a
process compiles for itself.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, compiled when it is first called with arguments of these types.

    It may call only compiled functions of its own file: what is kept of it is made anew when that
    file changes, and knows of no other.
    """
    try:
        return cast("Callable[P, R]", numba.njit(cache=True)(function))
    except RuntimeError:  # there is nowhere to keep it
        return cast("Callable[P, R]", numba.njit(function))
