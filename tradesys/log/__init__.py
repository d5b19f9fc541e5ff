"""Where records are kept: append-only logs in memory and in files, one for each origin and dataset.

What was acknowledged is on disk, what is damaged is noticed, and an append happens whole or not at
all. A log does not know what its records mean.
"""
