"""Random input for everything that reads what others wrote. `python -m tests.fuzz --help`, or `make fuzz`.

A target is a module-level object of `tests.fuzz.targets` with a name, a function that makes an input from a random
generator, and one that checks it and raises when a promise is broken. Inputs are numbered; seed and number give the
same input again. Some executions of each target run with the test suite.
"""
