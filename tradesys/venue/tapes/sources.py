"""Files of order flow as bytes, lines or tables, whatever they are packed in, in bounded memory.

What a file is packed in is told by its first bytes, and never by its name.
"""

import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tradesys.records.errors import InvalidValue, SchemaError, StorageError

_BLOCK = 1 << 22
_LINE_MOST = 1 << 20  # bytes of a line; a longer one is a fault
_ROWS = 1 << 16
_HEAD = 1 << 16

TABLE_MAGIC = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")
"""How Parquet, an Arrow file and an Arrow stream begin."""

TOO_LONG = f"the line is longer than {_LINE_MOST:,} bytes"

_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException)


@dataclass(frozen=True)
class File:
    """A file, or a member of a zip archive."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """The name alone, which may say a symbol and a date."""
        return Path(self.member or self.path).name

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes that were packed.

        :raises SchemaError: it is damaged.
        """
        try:
            with self.path.open("rb") as raw, self._unpacked(raw) as file:
                yield file
        except _DAMAGE as error:
            if isinstance(error, StorageError):
                raise
            raise SchemaError(f"{self}: cannot be read: {str(error)[:200]}") from error

    def _unpacked(self, raw: BufferedReader) -> Any:
        if self.member:
            return zipfile.ZipFile(raw).open(self.member)
        begin = raw.peek(6)
        if begin.startswith(b"\x1f\x8b"):
            return gzip.GzipFile(fileobj=raw)
        if begin.startswith(b"\xfd7zXZ\0"):
            return lzma.LZMAFile(raw)
        if begin.startswith(b"\x28\xb5\x2f\xfd"):
            return pa.CompressedInputStream(raw, "zstd")
        return raw

    def head(self) -> bytes:
        """The first 64 KiB of what was packed, or as much as is whole."""
        found = b""
        try:
            with self.open() as file:
                while len(found) < _HEAD and (more := file.read(_HEAD - len(found))):
                    found += more
        except SchemaError:
            if not found:
                raise
        return found


def files_of(path: Path) -> list[File]:
    """A file, the members of an archive, or all the files of a folder, by name.

    :raises InvalidValue: there is no such file or folder.
    """
    if path.is_dir():
        inside = (p for p in sorted(path.iterdir()) if p.is_file() and not p.name.startswith("."))
        return [file for each in inside for file in files_of(each)]
    if not path.is_file():
        raise InvalidValue("path", str(path), "a file or a folder that exists")
    with path.open("rb") as raw:
        is_archive = raw.read(4) == b"PK\x03\x04"
    if not is_archive:
        return [File(path)]
    try:
        with zipfile.ZipFile(path) as archive:
            return [File(path, n) for n in sorted(archive.namelist()) if not n.endswith("/")]
    except _DAMAGE as error:
        raise SchemaError(f"{path}: cannot be read: {error}") from error


def lines(file: File) -> Iterator[pl.DataFrame]:
    """The lines of a text that are not blank: ``line`` from 1, ``text``, and ``is_long``.

    Without the mark of UTF-8 at its beginning and the ends of lines; what is no UTF-8 is replaced.
    Of a line that is too long there is the beginning.
    """
    number, rest = 1, b""
    with file.open() as source:
        while block := source.read(_BLOCK):
            texts = (rest + block).split(b"\n")
            rest = texts.pop()
            if len(rest) > _LINE_MOST:  # of a line without an end no more is kept than this
                rest = rest[: _LINE_MOST + 1]
            yield _numbered(texts, number)
            number += len(texts)
    yield _numbered([rest], number)


def _numbered(texts: list[bytes], first: int) -> pl.DataFrame:
    if first == 1 and texts:
        texts[0] = texts[0].removeprefix(b"\xef\xbb\xbf")
    cut = [text if len(text) <= _LINE_MOST else text[:100] for text in texts]
    long = [len(text) > _LINE_MOST for text in texts]
    decoded = b"\n".join(cut).decode("utf-8", "replace").split("\n") if texts else []
    columns = {
        "text": pl.Series(decoded, dtype=pl.String),
        "is_long": pl.Series(long, dtype=pl.Boolean),
    }
    frame = pl.DataFrame(columns).with_row_index("line", offset=first)
    stripped = frame.with_columns(
        pl.col("line").cast(pl.Int64), pl.col("text").str.strip_chars_end("\r")
    )
    return stripped.filter(pl.col("text").str.strip_chars() != "")


def is_table(head: bytes) -> bool:
    """Whether a file is Parquet or Arrow."""
    return head.startswith(TABLE_MAGIC)


def table_columns(file: File) -> list[str]:
    """The names of the columns of a Parquet or Arrow file.

    :raises SchemaError: it is damaged.
    """
    with _table(file) as (schema, _):
        return list(schema.names)


def tables(file: File) -> Iterator[pl.DataFrame]:
    """The rows of a Parquet or Arrow file, some at a time, with the number ``line`` from 1."""
    first = 1
    with _table(file) as (_, batches):
        for batch in batches:
            frame = pl.DataFrame(batch)
            columns = [n for n in frame.columns if n != "line"]
            yield frame.select(pl.int_range(first, first + len(frame)).alias("line"), *columns)
            first += len(frame)


@contextmanager
def _table(file: File) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    with file.open() as raw:
        source = raw if raw.seekable() else pa.BufferReader(raw.read())
        begin = source.read(6)
        source.seek(0)
        if begin.startswith(b"PAR1"):
            parquet = pq.ParquetFile(source)
            yield parquet.schema_arrow, parquet.iter_batches(_ROWS)
        elif begin.startswith(b"ARROW1"):
            arrow = pa.ipc.open_file(source)
            yield arrow.schema, map(arrow.get_batch, range(arrow.num_record_batches))
        else:
            stream = pa.ipc.open_stream(source)
            yield stream.schema, iter(stream)
