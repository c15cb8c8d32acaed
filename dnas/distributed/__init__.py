"""Several processes that work as one: each takes its rows of every batch, and all end with the same numbers."""
