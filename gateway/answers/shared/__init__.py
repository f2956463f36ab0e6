"""Answers in Redis, so that any worker on any machine can resume or stop any answer."""
