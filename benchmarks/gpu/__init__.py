"""`python -m benchmarks.gpu`: what one hour, or eight minutes, on a GPU should tell. See __main__.py."""
