"""How a process is: figures for Prometheus, and over HTTP whether it is ready.

A process gives its figures by name, each a number or numbers by label. What is counted where a
thing happens, and what is looked up when somebody asks, is told alike: to Prometheus at
``/metrics``, and to ``tradesys cluster status`` over the broker. ``/health`` is answered with 200,
or with 503 and the reason.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Thread
from typing import Any, ClassVar, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tradesys.cluster.structured_log import note
from tradesys.log.file import LogFile
from tradesys.log.offsets import Offsets
from tradesys.routes import WRITES
from tradesys.systems.system import System

Figures = dict[str, float | Mapping[str, float]]
"""Numbers by the names of :data:`DESCRIBED`; several by label, parts of which a slash separates."""


class Figure(NamedTuple):
    """What a figure is: counted up, or looked at; and what its labels are."""

    family: type[CounterMetricFamily] | type[GaugeMetricFamily]
    text: str
    labels: tuple[str, ...] = ()


_COUNTED, _SEEN = CounterMetricFamily, GaugeMetricFamily
DESCRIBED = {
    "records": Figure(_SEEN, "Records held.", ("dataset", "origin")),
    "behind_records": Figure(_SEEN, "Records written here that a reader lacks.", ("reader",)),
    "behind_seconds": Figure(_SEEN, "Age of the oldest record that a reader lacks.", ("reader",)),
    "refused": Figure(_COUNTED, "Messages refused.", ("reason",)),
    "acknowledged": Figure(_COUNTED, "Requests accepted and acknowledged."),
    "unanswered": Figure(_SEEN, "Accepted requests that no street-side system has answered."),
    "resent": Figure(_COUNTED, "Requests sent again because nobody had answered them."),
    "lease": Figure(_SEEN, "1 for each street-side system whose symbols it executes.", ("home",)),
    "reported": Figure(_SEEN, "Events that the market has reported."),
    "fsyncs": Figure(_COUNTED, "Times that a file of records was made durable."),
    "fsync_seconds": Figure(_COUNTED, "Time spent on making files of records durable."),
    "disk_free_bytes": Figure(_SEEN, "Free space where the files are."),
}


class TimedFile(LogFile):
    """A file of records that counts for how long it is made durable."""

    syncs: ClassVar[dict[str, float]] = {"fsyncs": 0, "fsync_seconds": 0.0}
    """Of all files of this process."""

    def sync(self) -> None:
        """As :meth:`LogFile.sync`."""
        began = time.perf_counter()
        super().sync()
        self.syncs["fsyncs"] += 1
        self.syncs["fsync_seconds"] += time.perf_counter() - began


def behind(system: System, held: Mapping[str, Offsets], readers: Iterable[str]) -> Figures:
    """How many of a system's records each reader lacks, and the age of the oldest, in s.

    :param held: what each reader has last said that it holds.
    """
    records, seconds = dict[str, float](), dict[str, float]()
    for reader in readers:
        of_it, lacking, oldest = held.get(reader, Offsets()), 0, system.clock()
        for dataset in WRITES[system.kind]:
            for code in system.own_codes(dataset):
                log, at = system.tables[dataset].logs[code], of_it[dataset, code]
                if at < log.count:
                    lacking += log.count - at
                    oldest = min(oldest, log.row(at)["ts"])
        records[reader] = lacking
        seconds[reader] = max(system.clock() - oldest, 0) / 1e9 if lacking else 0.0
    return {"behind_records": records, "behind_seconds": seconds}


class _Collector:
    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for name, value in self._figures().items():
            family, text, labels = DESCRIBED[name]
            found = family(f"tradesys_{name}", text, labels=labels)
            for label, number in value.items() if isinstance(value, Mapping) else [("", value)]:
                found.add_metric(label.split("/") if labels else [], number)
            yield found


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A question is no event."""


def serve_metrics(
    port: int, figures: Callable[[], Figures], unready: Callable[[], str]
) -> WSGIServer:
    """Answer ``/metrics`` and ``/health`` on this machine alone, in a thread, from now on.

    :param unready: why it is not ready; empty if it is.
    """
    registry = CollectorRegistry()
    registry.register(_Collector(figures))
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start)
        reason, status = "", "404 Not Found"
        if environ["PATH_INFO"] == "/health":
            reason = unready()
            status = "503 Service Unavailable" if reason else "200 OK"
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [(reason or status).encode() + b"\n"]

    server = make_server("127.0.0.1", port, answer, handler_class=_Quiet)
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    note("metrics", port=server.server_port)
    return server
