"""`gatewayd run` as a process of its own, for tests whose calls block."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.client.upstreams import eventually
from tests.e2e.process import environment
from tests.forked import fork

_DATA = re.compile(r"^  data +(\S+)$", re.MULTILINE)


@contextmanager
def daemon(folder: Path, config: str, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Runs a daemon on the configuration and yields its base URL. It listens where the system likes."""
    file, log = folder / "gatewayd.yaml", folder / "gatewayd.log"
    tree = yaml.safe_load(config)
    tree["gatewayd"] = {**tree.get("gatewayd", {}), "listen": "127.0.0.1:0", "admin": "off"}
    file.write_text(yaml.safe_dump(tree))
    file.chmod(0o600)
    with log.open("wb") as stderr:
        streams = (None, None, stderr.fileno())
        process = fork(["run", "--config", str(file)], environ=environment(environ), streams=streams)
        try:
            eventually(lambda: _DATA.search(log.read_text()) or process.returncode is not None, within=60)
            found = _DATA.search(log.read_text())
            assert found is not None, log.read_text()
            yield found[1]
        finally:
            process.terminate()
            process.join(30)
