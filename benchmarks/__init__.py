"""The side-by-side benchmark: gatewayd beside other gateways on one machine. `python -m benchmarks --help`.

It knows gatewayd only as a command line, a configuration file and two listening addresses, like any other gateway here.
"""
