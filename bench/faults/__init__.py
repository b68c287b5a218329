"""Breaks nodes, Redis and connections while clients keep a ledger of every event: `python -m bench.faults --help`."""
