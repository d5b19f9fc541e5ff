"""What follows from a run for who analyses it: the market as it was, and how well orders did in it.

Everything is a polars frame that is worked out of records that one system holds, or of a tape; the
same functions take both. Nothing here is a record, decides anything, or draws.
"""
