"""What is written: the schemas and ids of the five datasets, and what every value must be.

A record is never changed; a correction is a further record. Everything here is plain data: it knows
no file, no system and no network.
"""
