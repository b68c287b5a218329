"""How costs grow with streams and with the length of a conversation: `python -m bench.curves --help`."""
