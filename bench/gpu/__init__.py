"""What the server costs in front of a model of real size: `python -m bench.gpu --help`."""
