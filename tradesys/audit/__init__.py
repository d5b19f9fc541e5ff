"""What must hold over all systems, checked over the records that they hold.

A check says what is wrong by the smallest set of records that proves it. An audit changes nothing,
and knows no network: it is handed what each system holds.
"""
