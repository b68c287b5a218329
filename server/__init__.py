"""The node: sockets, turns, the log, and what is known about them."""
