"""The drill: real replicas, real faults, and the questions that must have the same answer after each of them.

`python -m tests.drill` plays them all; `tests/test_drill.py` is its short form.
"""
