"""Six systems' files for the floor: Arrow streams, one for each dataset that a system holds."""

import os
from pathlib import Path

import pyarrow as pa

from tests.benchmarks.peers.job import KINDS, Counts, holders, opening
from tradesys.log.disk import sync_data
from tradesys.records.schemas import SCHEMAS, held
from tradesys.routes import holdings
from tradesys.venue.tapes import Tape

ZEROS = bytes(1 << 18)
END = b"\xff\xff\xff\xff\0\0\0\0"


class Stream:
    """A file that grows; zeros are written ahead of small writes, so that a sync is cheap."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        self.end = self.zeroed = 0

    def write(self, data: pa.Buffer | bytes) -> None:
        """Write at the end."""
        size = len(data)
        if self.zeroed < self.end + size <= self.end + len(ZEROS):
            os.pwrite(self.fd, ZEROS, self.end)
            self.zeroed = self.end + len(ZEROS)
        os.pwrite(self.fd, data, self.end)
        self.end += size

    def close(self) -> None:
        """End the stream where its records end."""
        os.ftruncate(self.fd, self.end)
        os.pwrite(self.fd, END, self.end)
        os.close(self.fd)


class Files:
    """All files; a batch is made bytes once, and these are written to all that hold it."""

    def __init__(self, folder: Path, tape: Tape) -> None:
        self.streams: dict[tuple[str, str], Stream] = {}
        self.folder = folder
        for system, kind in KINDS.items():
            for dataset in holdings(kind):
                stream = Stream(folder / f"{system}-{dataset}.arrows")
                stream.write(held(SCHEMAS[dataset]).serialize())
                self.streams[system, dataset] = stream
        for dataset, table in opening(tape).items():
            for batch in table.combine_chunks().to_batches():
                self.write("firm", dataset, batch)

    def write(self, writer: str, dataset: str, batch: pa.RecordBatch) -> None:
        """Make a batch durable at its writer, and copy it to all others that hold the dataset."""
        data = batch.serialize()
        own = self.streams[writer, dataset]
        own.write(data)
        sync_data(own.fd)
        for system in holders(dataset):
            if system != writer:
                self.streams[system, dataset].write(data)

    def close(self) -> None:
        """Close every file."""
        for stream in self.streams.values():
            stream.close()

    def counts(self) -> Counts:
        """How many records stand in the files."""
        found: Counts = {system: {} for system in KINDS}
        for system, dataset in self.streams:
            with pa.memory_map(str(self.folder / f"{system}-{dataset}.arrows")) as source:
                found[system][dataset] = sum(b.num_rows for b in pa.ipc.open_stream(source))
        return found
