"""The model: token ids in, token ids out. Knows nothing of sockets, Redis or the chat protocol."""
