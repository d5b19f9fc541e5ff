"""Clusters to test with: on this machine, each process behind a network that can be cut off."""

import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
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

    def __init__(self, ports: Iterable[int]) -> None:
        self._loop, self._passes = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self.ports = [self._listen(port) for port in ports]
        self.speak()

    def _listen(self, port: int) -> int:
        async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(1 << 16):
                    await self._passes.wait()
                    to.write(data)
                    await to.drain()
                to.close()

        async def connected(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            try:
                far_source, far_to = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                to.close()
                return
            for one, other in ((source, far_to), (far_source, to)):
                task = self._loop.create_task(pump(one, other))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        made = asyncio.start_server(connected, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(made, self._loop).result()
        number: int = server.sockets[0].getsockname()[1]
        return number

    def silence(self) -> None:
        self._loop.call_soon_threadsafe(self._passes.clear)

    def speak(self) -> None:
        self._loop.call_soon_threadsafe(self._passes.set)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._loop.stop()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)
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
