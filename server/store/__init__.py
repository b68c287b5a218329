"""State that must survive a process: turns and their logs, history, the registry of nodes, tickets."""
