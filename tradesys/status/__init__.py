"""What follows from records: the status of an order, and what accounts hold.

:mod:`~tradesys.status.definition` and :mod:`~tradesys.status.positions` define it over sets of
records, and :mod:`~tradesys.status.incremental` keeps the same answers up to date. Nothing here
knows which system asks, or where records come from.
"""
