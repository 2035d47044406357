"""A daemon under everything at once for a long time: does it lie, does it leak? `python -m tests.soak --help`.

The daemon is a process of its own. The load and the upstream share one event loop in this process: each is lean enough
not to be what is measured, and together they know at any moment what is open on either side of the daemon.
"""
