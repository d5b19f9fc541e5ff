"""A whole network in one process: its systems, what connects them, and what can be cut or crashed.

It decides when systems work and records move; it knows no rule of the systems themselves.
"""

from tradesys.network.network import Network

__all__ = ["Network"]
