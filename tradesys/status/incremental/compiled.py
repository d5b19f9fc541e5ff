"""Python functions compiled to machine code (numba), with their types kept.

What is compiled is kept beside the source or, where that may not be written, in the user's own
folder for such things; several processes may compile at once. Where neither can be written, a
process compiles for itself.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

_njit: Any = numba.njit  # its types leave _nrt out

COMPILED: list[Any] = []
"""Every function that is compiled; its ``signatures`` are the types that it is ready for."""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, compiled when it is first called with arguments of these types.

    It makes no arrays, and works on those that it is given: counting references to them would cost
    ten times what the work does, so it is switched off (``_nrt``). It may call only compiled
    functions of its own file: what is kept of it is made anew when that file changes, and knows of
    no other.
    """
    try:
        made = _njit(cache=True, _nrt=False)(function)
    except RuntimeError:  # there is nowhere to keep it
        made = _njit(_nrt=False)(function)
    COMPILED.append(made)
    return cast("Callable[P, R]", made)
