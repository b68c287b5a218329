"""The load generator: `python -m bench.load --help`."""
