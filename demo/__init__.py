"""The demo: a small database to ask, and a small model that answers about it."""
