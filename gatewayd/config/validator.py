"""`ConfigValidator`: from a file or a mapping to a `Snapshot`, or to everything that is wrong with it.

Stages: reading (`config.source`), keys, references and types, meaning. All problems are found in one pass: a stage
goes on where the one before found something wrong, as far as that makes sense. The same code serves the daemon,
`gatewayd check` and users' programs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from pydantic import ValidationError

from gatewayd.config import source as reading
from gatewayd.config.checks.circle import Listeners
from gatewayd.config.checks.deployments import Built, Shared, build_deployments, check_partial
from gatewayd.config.checks.effective import effective_tree
from gatewayd.config.checks.keys import check_keys, refusable
from gatewayd.config.checks.passing import check_pass_through
from gatewayd.config.checks.report import Report
from gatewayd.config.checks.routes import build_routing, default_models, names_of
from gatewayd.config.checks.server import build_server, check_permissions
from gatewayd.config.checks.trust import Trusts
from gatewayd.config.checks.values import explain, kind_of, resolve, validated
from gatewayd.config.document import Document
from gatewayd.config.overrides import Overrides
from gatewayd.config.problems import errors
from gatewayd.config.result import Result
from gatewayd.config.schema.deployment import Credential
from gatewayd.config.schema.general import GeneralSettings
from gatewayd.config.schema.litellm import LitellmSettings
from gatewayd.config.schema.own import Gatewayd
from gatewayd.config.schema.root import SECTIONS, Root
from gatewayd.config.schema.router import FALLBACKS, RouterSettings
from gatewayd.config.secrets import Resolver, export_environment
from gatewayd.config.snapshot import ServerSettings, Snapshot
from gatewayd.errors import ConfigInvalid
from gatewayd.suggest import nearest

__all__ = ["ConfigValidator", "Result"]


class Described(Protocol):
    """A configuration made in code that can be written as the file's content (`gatewayd.GatewayConfig`)."""

    def to_dict(self) -> Mapping[str, Any]: ...


class ConfigValidator:
    """Checks configurations. Holds no state between two of them.

    `environ` is the environment that references are looked up in; by default the process's, at the time of the check.
    `overrides`: what was decided beside the file.
    """

    def __init__(self, *, environ: Mapping[str, str] | None = None, overrides: Overrides | None = None) -> None:
        self._environ = environ
        self._overrides = overrides or Overrides()

    def check(self, source: Mapping[str, Any] | Described | str | os.PathLike[str]) -> Result:
        """Everything about `source`: a path, a mapping of the same form, or a `GatewayConfig`. Never raises for what is
        in it."""
        if isinstance(source, str | os.PathLike):
            document = reading.read(source)
        else:
            document = reading.from_mapping(source if isinstance(source, Mapping) else source.to_dict())
        return self.check_document(document)

    def check_document(self, document: Document) -> Result:
        """The same for what has been read already."""
        environ = os.environ if self._environ is None else self._environ
        return _Validation(document, environ, self._overrides).result()

    def validate(self, source: Mapping[str, Any] | Described | str | os.PathLike[str]) -> Snapshot:
        """The snapshot of a valid configuration. Raises ConfigInvalid with all problems."""
        result = self.check(source)
        if result.snapshot is None:
            raise ConfigInvalid(result.problems)
        return result.snapshot


class _Validation:
    """One document on its way to a snapshot."""

    def __init__(self, document: Document, environ: Mapping[str, str], overrides: Overrides) -> None:
        self._document = document
        self._overrides = overrides
        self._report = Report(document)
        self._environ = environ
        self._resolver = Resolver(environ, document.directory)
        self._written = document.tree

    def result(self) -> Result:
        if not self._written and errors(self._document.problems):
            return Result(None, tuple(self._document.problems), (*self._document.files, *self._document.patterns))
        snapshot = self._snapshot()
        return Result(snapshot, self._report.problems(), (*self._files(), *self._document.patterns))

    def _has_master_key(self, tree: Mapping[str, Any]) -> bool:
        """Whether some key is in force, wherever the file puts others."""
        sections = tree.get("general_settings"), tree.get("environment_variables")
        general, exported = (section if isinstance(section, dict) else {} for section in sections)
        name = "LITELLM_MASTER_KEY"
        return bool(general.get("master_key") or exported.get(name) or self._environ.get(name, "").strip())

    def _snapshot(self) -> Snapshot | None:
        report, document = self._report, self._document
        tree = self._usable()
        report.skips = self._mode(tree) == "skip"
        idle = check_keys(tree, report, self._accepted(tree), has_master_key=self._has_master_key(tree))
        exported, problems = export_environment(
            tree.get("environment_variables", {}), self._resolver, locate=document.locate
        )
        report.add_all(problems)
        resolved = resolve(tree, self._resolver, report, idle)
        router = validated(RouterSettings, resolved.get("router_settings", {}), ("router_settings",), report)
        litellm = validated(LitellmSettings, resolved.get("litellm_settings", {}), ("litellm_settings",), report)
        general = validated(GeneralSettings, resolved.get("general_settings", {}), ("general_settings",), report)
        own = validated(Gatewayd, resolved.get("gatewayd", {}), ("gatewayd",), report)
        top_level = self._top_level_fallbacks(resolved)
        built = self._deployments(tree, resolved, router, litellm, own)
        deployments = [one.deployment for one in built]
        names = names_of(resolved.get("model_list", []), deployments, resolved.get("router_settings", {}))
        routing = build_routing(router, litellm, top_level, names, report)
        server = build_server(own, general, litellm, router, document.directory, self._resolver.environ, report)
        server = replace(
            server,
            default_models=default_models(general, names, report),
            on_invalid_deployment="skip" if report.skips else "refuse",
        )
        check_pass_through(server.pass_through, deployments, report)
        check_permissions(document.files, tree, report)
        written = tree.get("model_list", [])
        report.offer_to_skip(len(written))
        built = [one for one in built if one.index not in report.left_out]
        if not built and written and not report.has_errors:
            report.error("no_models", ("model_list",), "every deployment in the list is invalid")
        if report.has_errors:
            return None
        deployments = [one.deployment for one in built]
        return Snapshot(
            revision=self._revision(),
            deployments=tuple(deployments),
            routing=routing,
            server=server,
            left_out=tuple(
                (self._group(written[index]), self._place(index), report.left_out[index])
                for index in sorted(report.left_out)
            ),
            environment=exported,
            files=self._files(),
            effective=effective_tree(tree, [one.written for one in built], deployments, routing, server),
        )

    def _usable(self) -> dict[str, Any]:
        """The tree without sections that are empty or of the wrong kind; reports the latter."""
        report = self._report
        tree = {name: value for name, value in self._document.tree.items() if value is not None}
        for name, kind, words in (
            *((name, dict, "a mapping") for name in (*SECTIONS, "environment_variables")),
            *((name, list, "a list") for name in ("model_list", "credential_list")),
        ):
            if name in tree and not isinstance(tree[name], kind):
                report.error("wrong_type", (name,), f"must be {words}, but this is {kind_of(tree[name])}")
                del tree[name]
        if tree.get("model_list") == []:
            report.error("no_models", ("model_list",), "there is no deployment in the list")
        elif "model_list" not in tree and not report.has_errors:
            others = [name for name in tree if name not in Root.model_fields]
            meant = nearest("model_list", others)
            hint = "it is a list of entries with model_name and litellm_params"
            hint = hint if meant is None else f"'{meant}' looks like a misspelling of it"
            report.error("no_models", ("model_list",), "the key model_list is missing", hint)
        return tree

    def _accepted(self, tree: Mapping[str, Any]) -> frozenset[str]:
        names = tree.get("gatewayd", {}).get("ignore_unsupported")
        if not isinstance(names, list):
            return frozenset()
        for index, name in enumerate(names):
            if isinstance(name, str) and name not in refusable():
                path = ("gatewayd", "ignore_unsupported", index)
                hint = self._report.suggest(name, refusable())
                message = f"{self._report.quote(path, name)} is not a key that can be listed here"
                self._report.error("invalid_value", path, message, hint or "see docs/configuration.md")
        return frozenset(name for name in names if isinstance(name, str))

    def _top_level_fallbacks(self, resolved: Mapping[str, Any]) -> Any:
        value = resolved.get("fallbacks")
        try:
            return FALLBACKS.validate_python(value)
        except ValidationError as error:
            explain(error, value, ("fallbacks",), self._report)
            return None

    def _deployments(
        self,
        tree: Mapping[str, Any],
        resolved: Mapping[str, Any],
        router: RouterSettings,
        litellm: LitellmSettings,
        own: Gatewayd,
    ) -> list[Built]:
        defaults = router.default_litellm_params or {}
        if not check_partial(defaults, ("router_settings", "default_litellm_params"), self._report):
            defaults = {}
        trusts = Trusts(self._resolver, self._report)
        here = ("litellm_settings", "ssl_verify")
        trust = trusts.of(litellm.ssl_verify, here)
        if trust is not None:
            trusts.warn(trust, here)
        settings: ServerSettings = own.settings()
        admin = self._overrides.admin_listener(settings.admin)
        listen = [*self._overrides.listen(settings.listen), *([] if admin is None else [admin])]
        listeners = Listeners(listen if self._overrides.serves else ())
        credentials = self._credentials(resolved)
        shared = Shared(
            defaults, credentials, bool(litellm.drop_params), self._resolver.environ, listeners, trusts, trust
        )
        written = tree.get("model_list", [])
        return build_deployments(written, resolved.get("model_list", []), shared, self._report, self._place)

    def _credentials(self, resolved: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        credentials: dict[str, Mapping[str, Any]] = {}
        for index, item in enumerate(resolved.get("credential_list", ())):
            path = ("credential_list", index)
            if not isinstance(item, dict):
                self._report.error("wrong_type", path, f"must be a mapping, but this is {kind_of(item)}")
                continue
            try:
                credential = Credential.model_validate(item)
            except ValidationError as error:
                explain(error, item, path, self._report)
                continue
            name, values = credential.credential_name, credential.credential_values
            if not check_partial(values, (*path, "credential_values"), self._report):
                values = {}
            if name in credentials:
                message = f"{self._report.quote((*path, 'credential_name'), name)} is in credential_list twice"
                self._report.error("duplicate_id", (*path, "credential_name"), message)
            if not (self._report.skips and self._report.failed_below(path)):
                credentials[name] = values
        return credentials

    def _mode(self, tree: Mapping[str, Any]) -> Any:
        return self._overrides.on_invalid_deployment or tree.get("gatewayd", {}).get("on_invalid_deployment")

    @staticmethod
    def _group(entry: Any) -> str:
        name = entry.get("model_name") if isinstance(entry, dict) else None
        return name if isinstance(name, str) and name.isprintable() and len(name) <= 500 else ""

    def _place(self, index: int) -> str:
        position = self._document.locate(("model_list", index), False)
        return f"{position.file}:{position.line}" if position.line else position.file

    def _files(self) -> tuple[str, ...]:
        return (*self._document.files, *self._resolver.files)

    def _revision(self) -> str:
        """The reading's, and where secrets come from files, a hash of those too: a rotated key is a new revision."""
        files = self._resolver.files
        if not files:
            return self._document.revision
        digest = hashlib.sha256(self._document.revision.encode())
        for name, content in sorted(files.items()):
            digest.update(f"{name}\0{content}\0".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:12]
