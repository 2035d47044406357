"""Several processes behind the same doors: one decides, the others serve (`gatewayd run --workers N`).

The deciding process (`fleet`) reads the configuration, opens the sockets, answers the admin side and talks to systemd.
A worker (`worker`) gets the finished snapshot and the sockets over a `link`, and answers requests. Why:
docs/adr/0016-workers.md.
"""
