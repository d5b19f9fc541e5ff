"""Many machines: the same systems, each a process of its own, over a message broker (NATS).

It promises that systems behave as in a network in one process or in a simulation: their runtimes
exchange the same messages, and nothing below this room knows that it exists. It must never decide
what a record means, and never keep anything that a record does not say.
"""

from pathlib import Path

from tradesys.network import Network


def connect(cluster: str | Path, *, as_: str = "analyst", acknowledge: str = "own") -> Network:
    """A network whose systems are processes elsewhere; ``close`` lets go of the connection only.

    >>> desk = connect("cluster1", as_="trader", acknowledge="one")  # doctest: +SKIP

    :param cluster: its folder, with the key and the certificate of who connects.
    :param as_: ``"analyst"``, who only asks, or ``"trader"``, who enters orders too.
    :param acknowledge: on whose disks an order is before it is acknowledged: its system's
        ``"own"``; that of ``"one"`` more, so that it survives the loss of the first; of ``"all"``.
    :raises InvalidValue: the folder holds no cluster, or nobody of this name.
    :raises SystemDown: no server answers.
    """
    # Whoever has one process needs no broker's client.
    from tradesys.cluster import connection, layout  # noqa: PLC0415

    place = layout.read(Path(cluster))
    return connection.connect(place.access(as_), place.manifest, as_, acknowledge=acknowledge)
