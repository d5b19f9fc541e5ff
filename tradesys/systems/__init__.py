"""The three kinds of system. Each writes its own datasets and reads what others wrote.

What they share is :mod:`~tradesys.systems.system`. A system knows no other: what comes from others
is handed to it by its :mod:`~tradesys.replication.runtime`, which exchanges messages with theirs.
"""
