"""A whole network in one process: its systems, what connects them, and what can be cut or crashed.

It decides when systems work and records move; it knows no rule of the systems themselves. Beside
:mod:`~tradesys.network.network` stand its :mod:`~tradesys.network.fault_switches` and
:mod:`~tradesys.network.manifest`, what can be run through it (:mod:`~tradesys.network.tape_replay`,
:mod:`~tradesys.network.scenario`) and what came of it (:mod:`~tradesys.network.as_of`,
:mod:`~tradesys.network.outage_bill`, :mod:`~tradesys.network.file_verification`,
:mod:`~tradesys.network.export`).
"""

from tradesys.network.network import Network

__all__ = ["Network"]
