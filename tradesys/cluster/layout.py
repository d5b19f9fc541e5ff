"""What a cluster's folder holds: who there is, the servers' configuration, keys and certificates.

::

    DIR/cluster.json          the servers' addresses; the systems are those of DIR/data
    DIR/data/…                a network as it is made, whose systems' folders may be taken elsewhere
    DIR/servers/n1.conf …     the configuration of each server, under n1/ what it keeps, its n1.pid
    DIR/keys/c1.nk …          who each is (an nkey's seed), and DIR/certificates/… that of each
"""

import json
import os
import signal
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tradesys.cluster.broker import Access
from tradesys.log.disk import write_whole
from tradesys.log.file import LogFile
from tradesys.log.table import Table
from tradesys.network import Network
from tradesys.network.manifest import Manifest, read_manifest, write_manifest
from tradesys.records import argument_checks as given
from tradesys.records.clock import wall_clock
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import Kind, Origin
from tradesys.routes import ROUTES, WRITES, holdings

MARKET, ANALYST, TRADER, OPERATOR = "market", "analyst", "trader", "operator"
"""Who connects beside systems: the market's gateway; who only asks; who enters orders too; who
has systems drained and others added."""

PAYLOAD = 8 << 20
"""So many bytes at most has a message."""


class Layout(NamedTuple):
    """A cluster's folder as it was read. ``servers`` are their addresses for clients."""

    folder: Path
    manifest: Manifest
    servers: list[str]

    @property
    def data(self) -> Path:
        """Where the systems' folders are, those that are on this machine."""
        return self.folder / "data"

    @property
    def server_names(self) -> list[str]:
        """The names of the servers."""
        return [f"n{number + 1}" for number in range(len(self.servers))]

    def access(self, name: str) -> Access:
        """What somebody needs to connect.

        :raises InvalidValue: nobody of this name has a key here.
        """
        given.one_of("name", name, [path.stem for path in self.folder.glob("keys/*.nk")])
        certificates = self.folder / "certificates"
        tls = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        tls.load_cert_chain(str(certificates / f"{name}.pem"))
        seed = (self.folder / "keys" / f"{name}.nk").read_text(encoding="ascii")
        return Access(
            self.servers, {"tls": tls, "nkeys_seed_str": seed, "inbox_prefix": f"_INBOX.{name}"}
        )


def read(folder: Path) -> Layout:
    """The cluster of a folder.

    :raises InvalidValue: there is none.
    """
    try:
        told = json.loads((folder / "cluster.json").read_text(encoding="utf-8"))
    except OSError as error:
        expected = "a cluster's folder, as tradesys cluster init makes it"
        raise InvalidValue("folder", str(folder), expected) from error
    manifest = read_manifest(folder / "data")
    assert manifest, "a cluster's folder holds a network"
    return Layout(folder, manifest, told["servers"])


def init(
    folder: Path,
    customers: int,
    streets: int,
    servers: int,
    *,
    books: OpeningBooks | None = None,
    port: int = 4222,
) -> Layout:
    """Make a cluster's folder: everything that its processes need on this machine.

    :raises InvalidValue: the folder is not empty, or a number is out of its range.
    """
    import trustme  # noqa: PLC0415 - who only connects does not need it

    given.whole("servers", servers, 1, 9)
    given.whole("port", port, 1, 64_535 - servers, of="ports; the servers' own are 1,000 further")
    if folder.exists() and any(folder.iterdir()):
        raise InvalidValue("folder", str(folder), "a folder that is empty or not there yet")
    with Network(customers, streets, firm=books, data=folder / "data") as made:
        manifest = made.manifest
    for name in ("keys", "certificates", "servers"):
        (folder / name).mkdir()
    authority = trustme.CA(organization_name="tradesys")
    authority.cert_pem.write_to_path(str(folder / "certificates" / "ca.pem"))
    _write_secret(folder / "keys" / "ca.pem", authority.private_key_pem.bytes())
    nodes = [f"n{number + 1}" for number in range(servers)]
    for name in nodes:
        _certify(folder, authority, name)
    for name in (*(o.system for o in manifest.origins), *_OTHERS):
        _enroll(folder, authority, name)
    _write_users(folder, manifest)
    for number, name in enumerate(nodes):
        text = _server(
            folder, name, port + number, [port + 1000 + n for n in range(servers)], number
        )
        (folder / "servers" / f"{name}.conf").write_text(text, encoding="utf-8")
    addresses = [f"tls://127.0.0.1:{port + number}" for number in range(servers)]
    told = json.dumps({"servers": addresses}, indent=1)
    (folder / "cluster.json").write_text(told + "\n", encoding="utf-8")
    return Layout(folder, manifest, addresses)


def add(layout: Layout, kind: Kind) -> tuple[Layout, str]:
    """Make room for one more system of a kind: it has written nothing, and has lost nothing.

    :returns: the layout with it, and its name.
    """
    import trustme  # noqa: PLC0415

    folder, of_kind = layout.folder, "customers" if kind is Kind.CUSTOMER else "streets"
    manifest = replace(layout.manifest, **{of_kind: getattr(layout.manifest, of_kind) + 1})
    (origin,) = set(manifest.origins) - set(layout.manifest.origins)
    authority = trustme.CA.from_pem(
        (folder / "certificates" / "ca.pem").read_bytes(), (folder / "keys" / "ca.pem").read_bytes()
    )
    _enroll(folder, authority, origin.system)
    for dataset in WRITES[kind]:
        holding = holdings(kind)[dataset]
        table = Table(origin, dataset, holding, folder=layout.data, open_file=LogFile)
        assert table.file
        table.file.close()
    _write_users(folder, manifest)
    write_manifest(layout.data, manifest, wall_clock())
    return layout._replace(manifest=manifest), origin.system


def reload(layout: Layout) -> list[str]:
    """Have the servers that run on this machine read their configuration anew; gives which.

    A pid that is left of a server that was killed may be another process's by now, and is left.
    """
    told = []
    for path in sorted((layout.folder / "servers").glob("*.pid")):
        pid = path.read_text(encoding="ascii").strip()
        with suppress(OSError):
            if os.fsencode(path.with_suffix(".conf")) in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGHUP)
                told.append(path.stem)
    return told


def _enroll(folder: Path, authority: Any, name: str) -> None:
    """Give somebody a key and a certificate."""
    import nkeys  # noqa: PLC0415

    _certify(folder, authority, name)
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    _write_secret(folder / "keys" / f"{name}.nk", bytes(seed))


def _certify(folder: Path, authority: Any, name: str) -> None:
    certificate = authority.issue_cert("127.0.0.1", "localhost", common_name=name)
    _write_secret(
        folder / "certificates" / f"{name}.pem",
        certificate.private_key_pem.bytes()
        + b"".join(each.bytes() for each in certificate.cert_chain_pems),
    )


def _write_users(folder: Path, manifest: Manifest) -> None:
    import nkeys  # noqa: PLC0415

    public = {
        path.stem: nkeys.from_seed(bytearray(path.read_bytes())).public_key.decode()
        for path in sorted((folder / "keys").glob("*.nk"))
    }
    users = users_of(manifest, public).encode()
    write_whole(folder / "servers" / "users.conf", users)


def _write_secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


# ---- what each may say and hear


def users_of(manifest: Manifest, public: dict[str, str]) -> str:
    """The users of the servers, by their public keys, and what each may publish and hear."""
    systems = {origin.system: origin for origin in manifest.origins}
    users = []
    for name, key in public.items():
        rights = (
            _rights(systems[name], list(systems.values())) if name in systems else _OTHERS[name]
        )
        users.append({"nkey": key, "permissions": rights})
    return f"authorization: {json.dumps({'users': users}, indent=1)}\n"


def _rights(origin: Origin, systems: list[Origin]) -> dict[str, Any]:
    """What a system may say follows from the routes: to whom it writes, and of whom it reads."""
    name = origin.system
    near = [peer.system for peer in systems if peer != origin and _speak(origin.kind, peer.kind)]
    publish = [*(f"to.{peer}.{name}" for peer in near), f"hello.{name}.*"]
    subscribe = [f"to.{name}.*", f"hello.*.{name}", f"ask.{name}.*", f"_INBOX.{name}.>"]
    if origin.kind is Kind.STREET:
        publish += [f"market.{name}.*", "$JS.API.>", "$KV.leases.>"]
        subscribe.append("market.news")
    return _allowed(publish, subscribe, answers=True)


def _speak(one: Kind, other: Kind) -> bool:
    """Whether systems of these kinds have anything to say to each other."""
    pairs = {(route.writer, route.reader) for route in ROUTES} | {(Kind.CUSTOMER, Kind.STREET)}
    return (one, other) in pairs or (other, one) in pairs


def _allowed(publish: list[str], subscribe: list[str], *, answers: bool) -> dict[str, Any]:
    rights: dict[str, Any] = {"publish": {"allow": publish}, "subscribe": {"allow": subscribe}}
    if answers:  # whoever asked is answered, also late
        rights["allow_responses"] = {"max": 1, "expires": "5m"}
    return rights


_ENTRY = [f"ask.*.{verb}" for verb in ("submit", "cancel", "replace", "submit_many")]
_FIGURES = ["ask.*.figures", "market.desk.figures"]
_LOOK = ["ask.*.records", "market.desk.poll", *_FIGURES]
_OTHERS = {
    MARKET: _allowed(["market.news"], ["market.*.*", "_INBOX.market.>"], answers=True),
    ANALYST: _allowed(_LOOK, ["_INBOX.analyst.>"], answers=False),
    TRADER: _allowed([*_LOOK, *_ENTRY], ["_INBOX.trader.>"], answers=False),
    OPERATOR: _allowed(
        [*_FIGURES, "ask.*.drain", "ask.*.meet"], ["_INBOX.operator.>"], answers=False
    ),
}


def _server(folder: Path, name: str, port: int, ports: list[int], number: int) -> str:
    """The configuration of one server."""
    certificates = folder.resolve() / "certificates"
    tls = (
        f'{{cert_file: "{certificates}/{name}.pem", key_file: "{certificates}/{name}.pem", '
        f'ca_file: "{certificates}/ca.pem", verify: true}}'
    )
    others = ", ".join(f'"tls://127.0.0.1:{each}"' for n, each in enumerate(ports) if n != number)
    several = (
        f'cluster: {{name: "tradesys", listen: "127.0.0.1:{ports[number]}", tls: {tls}, '
        f"no_advertise: true, routes: [{others}]}}\n"
    )
    return (
        f'server_name: "{name}"\nlisten: "127.0.0.1:{port}"\nmax_payload: {PAYLOAD}\n'
        'ping_interval: "1s"\nping_max: 2\n'
        f'tls: {tls}\npid_file: "{folder.resolve()}/servers/{name}.pid"\n'
        f'jetstream: {{store_dir: "{folder.resolve()}/servers/{name}", sync_interval: always}}\n'
        f"{several if len(ports) > 1 else ''}include users.conf\n"
    )


def names(layout: Layout) -> Iterator[str]:
    """Everybody who is a process: the market's gateway first."""
    yield MARKET
    yield from (origin.system for origin in layout.manifest.origins)
