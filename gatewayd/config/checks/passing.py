"""Third stage, for `gatewayd.pass_through`: the deployments whose whole API clients may use."""

from __future__ import annotations

from collections.abc import Sequence

from gatewayd.config.checks.report import Report
from gatewayd.config.document import Path
from gatewayd.config.snapshot import Deployment
from gatewayd.suggest import nearest


def check_pass_through(names: Sequence[str], deployments: Sequence[Deployment], report: Report) -> None:
    """Reports names that are no deployment's, and deployments to which a request cannot be passed as it is."""
    providers: dict[str, str] = {}
    for index, name in enumerate(names):
        path: Path = ("gatewayd", "pass_through", index)
        quoted = report.quote(path, name)
        found = [one for one in deployments if one.id == name] or [one for one in deployments if one.group == name]
        if not found:
            known = {one.group for one in deployments}.union(one.id for one in deployments if one.has_own_id)
            meant = nearest(name, known)
            hint = None if meant is None else f"did you mean {report.quote(path, meant)}?"
            report.error("unknown_group", path, f"there is no deployment or model group {quoted}", hint)
        elif len(found) > 1:
            message = f"the model group {quoted} has {len(found)} deployments: name one of them"
            report.error("invalid_value", path, message, "give the deployment a name in its model_info.id")
        elif not found[0].is_passable:
            message = f"litellm or gatewayd itself answers for {quoted}, so requests cannot be passed to it as they are"
            report.error("invalid_value", path, message)
        elif (other := providers.setdefault(found[0].provider, name)) != name:
            message = f"{report.quote(path, other)} is of the same provider and comes first, so this has no effect"
            report.warning("unused_key", path, message)
