"""Whether a statement may run: names, functions, size bounds."""
