"""Messages between systems as bytes: a line of JSON, and after it record batches in Arrow's own.

What comes from another machine is believed only as far as it can be checked: a batch has the schema
of its dataset and is valid throughout, and records that answer a question are of who sends them.
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from tradesys.log.offsets import Offsets
from tradesys.records.errors import ReadOnlyError, SchemaError
from tradesys.records.schemas import SCHEMAS, SEQUENCE_BITS, origin, parse_origin
from tradesys.replication.runtime import Body, GiveBack, Leaving, Message, Pull, Records, Requests
from tradesys.replication.transfer import Carried


def encoded(body: Body) -> bytes:
    """A message's body as bytes."""
    told: dict[str, Any] = {"kind": type(body).__name__}
    batches: list[pa.RecordBatch] = []
    match body:
        case Pull(reader, number, held):
            told |= {"origin": str(reader), "number": number, "held": _told(held)}
        case Records(writer, number, carried):
            told |= {"origin": str(writer), "number": number}
            told["datasets"] = [each.dataset for each in carried]
            batches = [each.batch for each in carried]
        case GiveBack(loser, held):
            told |= {"origin": str(loser), "held": _told(held)}
        case Requests(batch, again):
            told["again"] = again
            batches = [batch]
        case Leaving(leaver):
            told |= {"origin": str(leaver)}
    return pack(told, batches)


def encoded_within(body: Body, size: int) -> bytes:
    """A message's body as at most so many bytes.

    Of records that do not fit the first are sent: whoever lacks the others asks for them.
    """
    data = encoded(body)
    while len(data) > size and isinstance(body, Records):
        *most, last = body.carried
        if not most:
            most = [last._replace(batch=last.batch.slice(0, last.batch.num_rows // 2))]
        body = body._replace(carried=most)
        data = encoded(body)
    return data


def decoded(source: str, target: str, data: bytes) -> Message:
    """The message that one system has sent another.

    :raises SchemaError: it is none.
    :raises ReadOnlyError: it says what its sender may not say.
    """
    told, batches = unpack(data)
    try:
        match told["kind"]:
            case "Requests":
                if not source.startswith("c"):
                    raise ReadOnlyError(f"{source} takes no orders, and sent some")
                (batch,) = _checked([("requests", batch) for batch in batches])
                return Message(source, target, Requests(batch.batch, bool(told["again"])))
            case "Records":
                carried = _checked(list(zip(told["datasets"], batches, strict=True)))
                sender, number = parse_origin(told["origin"]), int(told["number"])
                if number and any(_system(each.batch) != {source} for each in carried):
                    raise ReadOnlyError(f"{source} sent records of others as its own")
                body: Body = Records(sender, number, carried)
            case "Pull":
                sender = parse_origin(told["origin"])
                body = Pull(sender, int(told["number"]), _offsets(told["held"]))
            case "GiveBack":
                sender = parse_origin(told["origin"])
                body = GiveBack(sender, _offsets(told["held"]))
            case "Leaving":
                sender = parse_origin(told["origin"])
                body = Leaving(sender)
            case kind:
                raise SchemaError(f"{source} sent a message of kind {kind!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise SchemaError(f"{source} sent what is no message: {error!r}") from error
    if sender.system != source:
        raise ReadOnlyError(f"{source} sent a message in the name of {sender.system}")
    return Message(source, target, body)


def pack(told: dict[str, Any], batches: list[pa.RecordBatch]) -> bytes:
    """A line of JSON and record batches, each a whole Arrow stream, as bytes."""
    streams = [_stream(batch) for batch in batches]
    head = json.dumps(told | {"lengths": [len(stream) for stream in streams]}, default=_plain)
    return b"".join([head.encode(), b"\n", *streams])


def _plain(value: object) -> object:
    """A number of numpy's as Python's; a Decimal, a time or whatever else as text."""
    return value.item() if isinstance(value, np.integer) else str(value)


def unpack(data: bytes) -> tuple[dict[str, Any], list[pa.RecordBatch]]:
    """What was packed; every batch is valid throughout.

    :raises SchemaError: it was not packed so.
    """
    try:
        head, _, rest = data.partition(b"\n")
        told, view, at = json.loads(head), pa.py_buffer(rest), 0
        batches: list[pa.RecordBatch] = []
        for length in told.pop("lengths"):
            stream = pa.ipc.open_stream(view.slice(at, length))
            table = stream.read_all().combine_chunks()
            table.validate(full=True)
            batches += table.to_batches() or [_nothing(table.schema)]
            at += length
    except (AttributeError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise SchemaError(f"what came is no message: {error!r}") from error
    return told, batches


def _stream(batch: pa.RecordBatch) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return memoryview(sink.getvalue())


def _nothing(schema: pa.Schema) -> pa.RecordBatch:
    columns = [pa.array([], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _checked(parts: list[tuple[str, pa.RecordBatch]]) -> list[Carried]:
    for dataset, batch in parts:
        if not batch.schema.equals(SCHEMAS[dataset]):
            raise SchemaError(f"a batch of {dataset} has schema\n{batch.schema}")
    return [Carried(dataset, batch) for dataset, batch in parts]


def _system(batch: pa.RecordBatch) -> set[str]:
    """The systems that wrote these records."""
    codes = np.unique(batch["record_id"].to_numpy() >> np.uint64(SEQUENCE_BITS))
    return {origin(code).system for code in codes.tolist()}


def _told(offsets: Offsets) -> list[tuple[str, int, int]]:
    return [(dataset, code, count) for (dataset, code), count in offsets.items()]


def _offsets(told: list[Any]) -> Offsets:
    return Offsets(((str(dataset), int(code)), int(count)) for dataset, code, count in told)
