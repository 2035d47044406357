"""Exit codes, from sysexits.h where it has one; argparse exits with 2 on wrong usage."""

OK = 0
FAILURE = 1
NO_INPUT = 66
UNAVAILABLE = 69
CONFIG = 78
INTERRUPTED = 130
