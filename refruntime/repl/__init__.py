"""Debug sampling: sessions whose every state is a value, and the words that move between them."""
