"""Load and fault runs: they talk to nodes over the network alone, and know nothing of what is inside."""
