"""The demo model: a small causal model that answers questions about the demo database, and how it is made."""
