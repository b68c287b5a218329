"""The model: everything that turns token ids into more token ids. Knows nothing of sockets, Redis or the chat protocol."""
