"""The wire and the log as pure functions: no clock, no randomness, no I/O."""
