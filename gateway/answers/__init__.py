"""Answers as resources: produced once into a log, followed by any number of readers."""
