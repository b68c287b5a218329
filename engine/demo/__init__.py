"""A chat model of a few million parameters, trained from nothing on generated chats: something to serve on a laptop."""
