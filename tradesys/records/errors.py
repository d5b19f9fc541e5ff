"""What can go wrong, and what is then known to have happened.

Every error carries an ``outcome``: the thing asked for did not happen, did happen, or might have.
A caller that retries needs exactly this and nothing else.

    TradesysError
    ├── InvalidValue (ValueError)      a field holds a value that no rule allows     did not happen
    ├── SchemaError (ValueError)       a table has the wrong columns or types        did not happen
    ├── ReadOnlyError (PermissionError) a system wrote what another kind writes      did not happen
    ├── GapError                       records arrived that do not follow on         did not happen
    ├── NotYetReplicated (LookupError) an answer needs records that are on their way did not happen
    ├── SystemDown                     the system asked is not running               did not happen
    ├── Busy                           too much waits to be done already             did not happen
    └── StorageError (OSError)         the disk refused or the file is in use        did not happen
        └── DamagedError               a file holds bytes that were not written      did not happen
"""

from collections.abc import Callable
from enum import StrEnum

_SHOWN_MAX = 120  # letters of a value in a message


class Outcome(StrEnum):
    """What is known about the thing that was asked for when the error was raised."""

    DID_NOT_HAPPEN = "did not happen"
    HAPPENED = "happened"
    MIGHT_HAVE = "might have happened"


class TradesysError(Exception):
    """The root of every error that this package raises on purpose."""

    outcome = Outcome.DID_NOT_HAPPEN

    def __init__(self, message: str, *, outcome: Outcome | None = None) -> None:
        super().__init__(message)
        if outcome is not None:
            self.outcome = outcome

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """As it is: another process raises it with the same words."""
        return _made_again, (type(self), self.args, self.__dict__)


def shown(value: object) -> str:
    """A value as a message shows it: in full, or the beginning and the end of a long one."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - it is the value that is wrong, and it is told by its type
        text = f"<a {type(value).__name__}>"
    return text if len(text) <= _SHOWN_MAX else f"{text[:60]} … {text[-20:]}"


def _made_again(
    kind: type[TradesysError], args: tuple[object, ...], said: dict[str, object]
) -> TradesysError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(said)
    return error


class InvalidValue(TradesysError, ValueError):
    """A field holds a value that no rule allows; nothing was written.

    ``field`` and ``value`` are as given, ``expected`` says what would have been right.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}={shown(value)}: expected {expected}")
        self.field = field
        self.value = value
        self.expected = expected


class SchemaError(TradesysError, ValueError):
    """A table has a column that is missing, unknown, or of the wrong type; nothing was written."""


class ReadOnlyError(TradesysError, PermissionError):
    """A system tried to write data that only another kind of system writes (claims 1 to 7)."""


class GapError(TradesysError):
    """Records arrived that do not follow on from those held; none of them was applied."""


class NotYetReplicated(TradesysError, LookupError):
    """The answer rests on records that this system does not hold yet; ``missing`` names them."""

    def __init__(self, message: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


class SystemDown(TradesysError):
    """The system asked is not running; ask another of its kind."""


class Busy(TradesysError):
    """So much waits that no more is taken; ask another system of its kind, or a little later."""


class StorageError(TradesysError, OSError):
    """The disk refused, or the folder is used by another process; nothing was acknowledged."""


class DamagedError(StorageError):
    """A file holds bytes that were not written there: ``path``, ``offset`` in bytes, and why."""

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(f"{path}: damaged at byte {offset:,}: {reason}")
        self.path = path
        self.offset = offset
        self.reason = reason
