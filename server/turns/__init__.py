"""One turn: its prompt, its run, whoever follows it."""
