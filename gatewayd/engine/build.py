"""Snapshot → Runtime: everything that can fail happens here, before anything is swapped.

What an unchanged deployment has (connections, health) is taken over by identity. When building fails, what was made for
this runtime is let go again and the error is a `ConfigInvalid`.
"""

from __future__ import annotations

import asyncio
import gc
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cache

from gatewayd.config import providers
from gatewayd.config.problems import Problem
from gatewayd.config.snapshot import Deployment, RoutingSettings, ServerTimeouts, Snapshot
from gatewayd.engine.runtime import Gateway, Runtime, Target
from gatewayd.errors import ConfigInvalid, ConfigurationError, GatewaydError
from gatewayd.gc_tuning import gc_paused
from gatewayd.routing.budget import RetryBudget
from gatewayd.routing.candidate import Candidate
from gatewayd.routing.pick import STRATEGIES
from gatewayd.routing.table import Group, Table
from gatewayd.tasks import Yielder
from gatewayd.upstream.base import Timeouts, Upstream
from gatewayd.upstream.convert import SplitUpstream
from gatewayd.upstream.forward import ForwardUpstream
from gatewayd.upstream.litellm.translate import TranslateUpstream, load_litellm
from gatewayd.upstream.scripted import ScriptedUpstream
from gatewayd.wire.dialect import OPENAI

TimeoutsOf = Callable[[float | None, float | None, bool], Timeouts]
"""Of a deployment's `timeout` and `stream_timeout`, for a stream or not."""

DEFAULT_FIRST_BYTE = 60.0
"""Seconds a stream may take to its first event when nobody configured it."""


async def build(snapshot: Snapshot, gateway: Gateway) -> Runtime:
    """Makes the live objects for a snapshot. Raises ConfigInvalid; then nothing of it is left behind.

    Lets the loop go on with its requests every millisecond, however many deployments there are. Does not load litellm
    (see `load_translators`): translated calls wait for it.
    """
    targets: dict[str, Target] = {}
    yielder, timeouts = Yielder(), _timeouts_of(snapshot)
    try:
        for deployment in snapshot.deployments:
            try:
                targets[deployment.id] = _target(deployment, timeouts, gateway)
            except ConfigurationError as error:
                raise ConfigInvalid([_unusable(deployment, error)]) from error
            await yielder()
        table = await _table(snapshot, targets, yielder)
        return Runtime(snapshot, table, targets, gateway.health, gateway.upstreams)
    except BaseException as error:
        for target in targets.values():
            await gateway.upstreams.release(target.deployment.identity)
        if isinstance(error, GatewaydError) or not isinstance(error, Exception):
            raise
        raise _failed("build_failed", f"the configuration could not be made live: {type(error).__name__}") from error


async def load_translators(snapshot: Snapshot, gateway: Gateway) -> None:
    """Loads litellm if a deployment of the snapshot needs it: some seconds, the first time. Raises ConfigInvalid."""
    translated = {deployment.provider for deployment in snapshot.deployments if deployment.kind == "translate"}
    if not translated or not gateway.serves:
        return
    try:
        # A process that has frozen what its start made (`process.end_start`) does the same with litellm's objects.
        with gc_paused() if gc.get_freeze_count() else nullcontext():
            await load_litellm(*translated)
    except Exception as error:
        raise _failed("litellm_unavailable", f"litellm could not be loaded: {type(error).__name__}") from error


def _target(deployment: Deployment, timeouts: TimeoutsOf, gateway: Gateway) -> Target:
    return Target(
        deployment=deployment,
        candidate=Candidate(
            id=deployment.id,
            identity=deployment.identity,
            order=deployment.order,
            weight=deployment.weight,
            rpm=deployment.rpm,
            tpm=deployment.tpm,
            cooldown_time=deployment.cooldown_time,
        ),
        upstream=gateway.upstreams.acquire(deployment.identity, lambda: _upstream(deployment, gateway)),
        timeouts=timeouts(deployment.timeout, deployment.stream_timeout, False),
        stream_timeouts=timeouts(deployment.timeout, deployment.stream_timeout, True),
    )


def _upstream(deployment: Deployment, gateway: Gateway) -> Upstream:
    match deployment.kind:
        case "forward":
            forward = ForwardUpstream(deployment, instance=gateway.instance, fetcher=gateway.fetcher)
            return _with_litellm(forward, deployment, gateway)
        case "translate":
            translated = TranslateUpstream(deployment, instance=gateway.instance, fetcher=gateway.fetcher)
            return _with_native(deployment, translated, gateway)
        case "scripted":
            return ScriptedUpstream(deployment)


def _with_litellm(upstream: ForwardUpstream, deployment: Deployment, gateway: Gateway) -> Upstream:
    """Adds what litellm has of a provider beside its own API. litellm is loaded at the first such call."""
    if deployment.provider == "gemini" and OPENAI.name not in deployment.dialects:
        upstream.beside = TranslateUpstream(deployment, instance=gateway.instance, fetcher=gateway.fetcher)
    return upstream


def _with_native(deployment: Deployment, translated: Upstream, gateway: Gateway) -> Upstream:
    """Adds the dialects in which the provider itself is asked to those that are translated."""
    natives = [name for name in deployment.dialects if name != OPENAI.name]
    provider = providers.get(deployment.provider)
    if not natives or provider is None:
        return translated
    base = provider.base_url(deployment.api_base)
    forward = ForwardUpstream(replace(deployment, api_base=base), instance=gateway.instance)
    return SplitUpstream({OPENAI.name: translated, **dict.fromkeys(natives, forward)})


def _timeouts_of(snapshot: Snapshot) -> TimeoutsOf:
    """litellm's `timeout` bounds one try; for a stream `stream_timeout` does, and it bounds the silences too.

    Deployments with the same timeouts share them.
    """
    server: ServerTimeouts = snapshot.server.timeouts
    routing: RoutingSettings = snapshot.routing

    @cache
    def timeouts(timeout: float | None, stream_timeout: float | None, stream: bool) -> Timeouts:
        told = timeout or routing.timeout
        if stream:
            told = stream_timeout or routing.stream_timeout or told
        total = told or server.total
        first_byte = server.first_byte or (DEFAULT_FIRST_BYTE if stream and told is None else total)
        return Timeouts(
            connect=min(server.connect, total),
            first_byte=min(first_byte, total),
            idle=min(server.idle, told) if stream and told else server.idle,
            total=total,
        )

    return timeouts


async def _table(snapshot: Snapshot, targets: Mapping[str, Target], yielder: Yielder) -> Table:
    members: dict[str, list[Target]] = defaultdict(list)
    by_model: dict[str, list[Target]] = defaultdict(list)
    unserved: dict[str, str] = {}
    for target in targets.values():
        deployment = target.deployment
        if deployment.unserved:
            unserved.setdefault(deployment.group, deployment.unserved)
            continue
        members[deployment.group].append(target)
        by_model[f"{deployment.provider}/{deployment.model}"].append(target)
        await yielder()
    if any("/" in name and "*" in name for name in members):
        await asyncio.to_thread(providers.split_model, "gpt")  # reads a large table once, off the loop
    routing = snapshot.routing
    groups: dict[str, Group] = {}
    for name, group in members.items():
        groups[name] = _group(name, group, snapshot)
        await yielder()

    def also(name: str) -> Group | None:
        one = targets.get(name)
        if one is not None and one.deployment.unserved:
            return None
        found = [one] if one is not None and one.deployment.has_own_id else by_model.get(name)
        return None if found is None else _group(found[0].deployment.group, found, snapshot)

    return Table(
        groups,
        fallbacks=routing.fallbacks,
        max_fallbacks=routing.max_fallbacks,
        aliases={name: alias.model for name, alias in routing.aliases.items()},
        hidden=[name for name, alias in routing.aliases.items() if alias.hidden],
        also=also,
        provider_of=_provider_of,
        left_out=[group for group, _, _ in snapshot.left_out],
        unserved={name: what for name, what in unserved.items() if name not in groups},
    )


def _provider_of(model: str) -> str | None:
    found = providers.split_model(model)
    return None if found is None else found[0]


def _group(name: str, targets: list[Target], snapshot: Snapshot) -> Group:
    told = [t.deployment.num_retries for t in targets if t.deployment.num_retries is not None]
    num_retries = max(told, default=snapshot.routing.num_retries)
    share = snapshot.server.retry_budget
    budget = RetryBudget(share.percent / 100, share.at_least)
    pick = STRATEGIES[snapshot.routing.strategy]
    return Group.of(name, [t.candidate for t in targets], num_retries, budget, pick)


def _unusable(deployment: Deployment, error: ConfigurationError) -> Problem:
    file, _, line = deployment.place.rpartition(":")
    if not line.isdecimal():
        file, line = deployment.place, "0"
    return Problem("build_failed", f"deployment {deployment.id}: {error}", error.config_key or "", file, int(line))


def _failed(code: str, message: str) -> ConfigInvalid:
    return ConfigInvalid([Problem(code, message)])
