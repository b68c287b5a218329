"""The group commit and following it: a turn's log is durable before anybody sees it, and one copy serves all readers.

The node that holds a turn's lease writes its log; every node may follow it. An entry becomes visible once the store
has acknowledged it, never earlier. Read the modules in this order:

1. `journal`: what a node writes. Opens writers, and keeps the logs of the turns that it writes in memory.
2. `writer`: one turn's log under a lease, from the first append to the terminal event.
3. `committer`: batches the appends of all turns of a partition into one call to the store, and repeats it.
4. `buffer`: acknowledged entries in memory, read by position, and the sink that takes new ones at once.
5. `subscriber`: follows a turn from a position, wherever its log is written.
6. `tailer`: mirrors logs that other nodes write, with one blocking read for a whole partition.
7. `recovery`: writes back what the store lost although it had acknowledged it.
"""
