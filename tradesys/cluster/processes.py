"""The processes of a cluster: one of them, or all that a trial on one machine needs."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from shutil import which
from typing import Self

from tradesys.cluster import layout as layouts
from tradesys.cluster.gateway import Gateway
from tradesys.cluster.layout import MARKET, Layout
from tradesys.cluster.node import Node
from tradesys.records.errors import SystemDown
from tradesys.venue import venue_of


def serve(layout: Layout, name: str) -> None:
    """Be one process of a cluster, until SIGTERM or SIGINT."""
    process: Gateway | Node
    if name == MARKET:
        venue = venue_of(layout.manifest.venue)
        process = Gateway(layout.access(MARKET), venue, layout.data)
    else:
        process = Node(layout, name)
    asyncio.run(run_until_told(process, name))


async def run_until_told(process: Gateway | Node, name: str) -> None:
    """Run it until SIGTERM or SIGINT; say on standard output when it is ready."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, process.stop)
    said = asyncio.create_task(_say_ready(process, name))
    await process.run()
    said.cancel()


async def _say_ready(process: Gateway | Node, name: str) -> None:
    await process.ready.wait()
    print(json.dumps({"ready": name, "pid": os.getpid()}), flush=True)  # noqa: T201 - its log


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
        return [f"n{number + 1}" for number in range(len(self.layout.servers))]

    def start(self, name: str) -> None:
        """Start a server, the market's gateway or a system."""
        command = self.command(name)
        with (self.logs / f"{name}.log").open("ab") as log:
            self._said[name] = log.tell()
            self.processes[name] = subprocess.Popen(  # noqa: S603 - a command of ours
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def command(self, name: str) -> list[str]:
        """What starts a process."""
        folder = self.layout.folder
        if name not in self.servers:
            return [sys.executable, "-m", "tradesys", "serve", name, "--config", str(folder)]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        program = which("nats-server", path=path) or "nats-server"
        return [program, "-c", str(folder / "servers" / f"{name}.conf")]

    def await_ready(self, name: str, patience: float = 30.0) -> None:
        """Wait until a process says that it is ready."""
        process, until = self.processes[name], time.monotonic() + patience
        words = b"Server is ready" if name in self.servers else b'{"ready"'
        path = self.logs / f"{name}.log"
        while words not in path.read_bytes()[self._said[name] :]:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemDown(f"{name} does not come up; its words are in {path}")
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

    def reload(self) -> None:
        """Let the servers read their configuration anew: users who are no longer there are cut."""
        for name in self.servers:
            self.processes[name].send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End all, systems first, so that each closes its files."""
        for names in ([n for n in self.processes if n not in self.servers], self.servers):
            running = [self.processes[n] for n in names if n in self.processes]
            for process in running:
                process.terminate()
            for process in running:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
