"""Metrics, logs, and the accounting of answers."""
