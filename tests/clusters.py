"""Clusters to test with: on this machine, each process behind a network that can be cut off."""

import asyncio
import json
import os
import socket
import sys
import threading
from asyncio import Event
from asyncio import StreamWriter as Writer
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from pathlib import Path

from tradesys.cluster.processes import Cluster

SILENCES = os.environ.get("TRADESYS_SILENCES")
"""A file to which each fault test adds a line about how long customers waited, if there is one."""


def free_ports() -> int:
    """The first of three ports for clients; the servers' own are a thousand further."""
    own = 20_000 + os.getpid() % 1000 * 7  # others look for ports at the same time
    for first in (*range(own, 28_000, 7), *range(20_000, own, 7)):
        with ExitStack() as stack, suppress(OSError):
            for port in (*range(first, first + 3), *range(first + 1000, first + 1003)):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError("no ports are free")


class Proxy:
    """What stands between one process and the servers: while it is silent, no byte passes it.

    Connections stay open meanwhile, and new ones are made, as when a cable is drawn.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports: list[int] = []
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ports, ready)))
        self._thread.start()
        ready.wait()

    async def _run(self, ports: Sequence[int], ready: threading.Event) -> None:
        self._loop, self._passes, self._ends = asyncio.get_running_loop(), Event(), Event()
        self._passes.set()
        self._writers: set[Writer] = set()
        async with AsyncExitStack() as stack:
            for port in ports:
                server = await asyncio.start_server(partial(self._connected, port), "127.0.0.1", 0)
                self.ports.append(server.sockets[0].getsockname()[1])
                await stack.enter_async_context(server)
            ready.set()
            await self._ends.wait()
            for writer in self._writers:
                writer.close()

    async def _connected(self, port: int, near: asyncio.StreamReader, to: Writer) -> None:
        try:
            far, far_to = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            to.close()
            return
        self._writers |= {to, far_to}
        await asyncio.gather(self._pump(near, far_to), self._pump(far, to))

    async def _pump(self, source: asyncio.StreamReader, to: Writer) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                await self._passes.wait()
                to.write(data)
                await to.drain()
        to.close()

    def silence(self) -> None:
        self._loop.call_soon_threadsafe(self._passes.clear)

    def speak(self) -> None:
        self._loop.call_soon_threadsafe(self._passes.set)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join()


class FaultyCluster(Cluster):
    """A cluster of :mod:`tests.faulty_process`, each with a proxy of its own to the servers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.proxies: dict[str, Proxy] = {}
        self.faults: dict[str, object] = {}

    def command(self, name: str) -> list[str]:
        if name in self.servers:
            return super().command(name)
        machine = self.layout.folder / "machines" / name
        if not machine.exists():
            machine.mkdir(parents=True)
            for part in ("keys", "certificates", "data", "faults.json", "twice"):
                (machine / part).symlink_to(self.layout.folder / part)
            ports = [int(address.rpartition(":")[2]) for address in self.layout.servers]
            self.proxies[name] = Proxy(ports)
            addresses = [f"tls://127.0.0.1:{port}" for port in self.proxies[name].ports]
            (machine / "cluster.json").write_text(json.dumps({"servers": addresses}))
        return [sys.executable, "-m", "tests.faulty_process", name, "--config", str(machine)]

    def fault(self, **faults: object) -> None:
        """What is wrong between systems from now on, beside what was already."""
        self.faults |= faults
        path = self.layout.folder / "faults.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(self.faults))
        new.replace(path)

    @property
    def executed_twice(self) -> bool:
        return (self.layout.folder / "twice").exists()

    def stop(self) -> None:
        for proxy in self.proxies.values():
            proxy.speak()
        super().stop()
        for proxy in self.proxies.values():
            proxy.close()
        self.proxies = {}
