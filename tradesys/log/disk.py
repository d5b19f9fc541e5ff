"""What the disk is asked for: whole files put in place, and its refusals as errors of ours."""

import fcntl
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from tradesys.records.errors import StorageError

_CHUNK = 1 << 20  # bytes that are read at a time
_BLANK = bytes(_CHUNK)
_F_FULLFSYNC = 51  # which ``fcntl`` knows on macOS only


def in_making(path: Path) -> Path:
    """The name that a file has until it is whole."""
    return path.with_suffix(".new")


def make_folder(path: Path) -> None:
    """Make a folder and those that it is in, where they are missing; durable on return."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync_names(path.parent)


def put_in_place(path: Path) -> None:
    """Give a file that is whole its own name; durable on return."""
    in_making(path).rename(path)
    _sync_names(path.parent)


def _sync_names(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        sync(fd)
    finally:
        os.close(fd)


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file as a whole: durable on return, and the old one or the new at any moment.

    :raises StorageError: the disk refused.
    """
    with disk_errors(path):
        fd = os.open(in_making(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(fd, data, 0)
            sync(fd)
        finally:
            os.close(fd)
        put_in_place(path)


def sync_data(fd: int) -> None:
    """Make durable what was written to a file."""
    if sys.platform == "darwin":
        _sync_drive(fd)
    else:
        os.fdatasync(fd)


def sync(fd: int) -> None:
    """As :func:`sync_data`, with all that is known of the file; or the names in a folder."""
    if sys.platform == "darwin":
        _sync_drive(fd)
    else:
        os.fsync(fd)


def _sync_drive(fd: int) -> None:
    """On macOS ``fsync`` leaves data in the drive's cache, but where a file system has no other."""
    try:
        fcntl.fcntl(fd, _F_FULLFSYNC)
    except OSError:
        os.fsync(fd)


def require_at(fd: int, path: Path) -> None:
    """Refuse to go on by a path that no longer leads to what was opened there.

    Whatever is there now may be somebody else's: it is neither written nor removed.

    :raises StorageError: what was opened has been moved, deleted or replaced.
    """
    with suppress(OSError):
        if os.path.samestat(os.fstat(fd), path.stat()):
            return
    raise StorageError(
        f"{path}: it was moved, deleted or replaced while it was open; close the network, and open "
        "it again where its folder is now, or put a copy of that back"
    )


def require_kept(fd: int, path: Path) -> None:
    """Refuse to vouch for a file that has no name any more: it goes with the process.

    :raises StorageError: the file was deleted.
    """
    if not os.fstat(fd).st_nlink:
        raise StorageError(
            f"{path}: it was deleted while it was open, so nothing that is written to it stays; "
            "close the network, and put its folder back from a copy"
        )


def is_blank(path: Path, at: int) -> bool:
    """Whether a file has nothing but zeros from a place on; takes no memory, however many."""
    with path.open("rb", buffering=0) as file:
        file.seek(at)
        while chunk := file.read(_CHUNK):
            if chunk != _BLANK[: len(chunk)]:
                return False
    return True


def copy_from(path: Path, at: int, target: Path) -> None:
    """Write what stands in a file from a place on to another one; durable on return."""
    with path.open("rb") as file, target.open("wb") as aside:
        file.seek(at)
        shutil.copyfileobj(file, aside, _CHUNK)
        aside.flush()
        sync(aside.fileno())
    _sync_names(target.parent)


def name_aside(path: Path, word: str) -> Path:
    """A name beside the file that is not taken yet."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}.{word}")).exists():
        number += 1
    return aside


def write_all(fd: int, data: bytes | bytearray | memoryview, at: int) -> None:
    """Write all of the data at a place; a disk that takes only part says why for the rest."""
    done = 0
    while done < len(data):
        done += os.pwrite(fd, memoryview(data)[done:] if done else data, at + done)


class disk_errors:  # noqa: N801 - used like a function; as one it took as long as the write
    """Whatever the disk refuses within is an error of ours, which names the file."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise StorageError(f"{self._path}: {error.strerror or error}") from error
