"""Many machines: the same systems, each a process of its own, over a message broker (NATS).

It promises that systems behave as in a network in one process or in a simulation: their runtimes
exchange the same messages, and nothing below this room knows that it exists. It must never decide
what a record means, and never keep anything that a record does not say.
"""
