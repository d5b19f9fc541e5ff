"""``python -m tradesys`` is the command line."""

from tradesys.cli import main

main()
