"""Measurements, each of them a module to run: `python -m benchmarks.normaliser`. Results are in results/."""
