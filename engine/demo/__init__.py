"""A chat model of a few million parameters, trained from nothing on generated chats, so that a laptop has something to serve."""
