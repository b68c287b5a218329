"""Writing turns in groups, and following them."""
