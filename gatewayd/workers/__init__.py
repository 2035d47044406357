"""Several processes that share the listening sockets (`gatewayd run --workers N`).

The `supervisor` process reads the configuration, opens the sockets, serves the admin listener and talks to systemd. A
`worker` process gets the snapshot and the sockets over a `channel`, and answers requests. docs/adr/0016-workers.md says
why.
"""
