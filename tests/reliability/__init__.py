"""What must hold when parts fail: a fault proxy, numbered streams, a checker, and the matrix of faults as data.

`python -m tests.reliability` plays the whole matrix and writes docs/reliability.md; `make soak` breaks something every
second.
"""
