"""The generated chats: phrases, values, and the conversations made of them."""
