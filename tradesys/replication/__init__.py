"""How records reach the other systems: in batches, from log to log, by position; in messages.

What is replicated again changes nothing, and no record is applied after a gap. It never looks into
a record, and never knows who carries its messages.
"""
