"""The network under virtual time, with what can go wrong drawn from a seed."""

from tradesys.simulation.plan import FAULTS, Ask, Choices, Fault, Market, Plan, draw
from tradesys.simulation.run import Simulation

__all__ = ["FAULTS", "Ask", "Choices", "Fault", "Market", "Plan", "Simulation", "draw"]
