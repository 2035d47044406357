"""The file as a whole: its sections, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewayd.config.schema.base import Section, key
from gatewayd.config.schema.deployment import Credential, ModelEntry
from gatewayd.config.schema.general import GeneralSettings
from gatewayd.config.schema.litellm import LitellmSettings
from gatewayd.config.schema.own import Gatewayd
from gatewayd.config.schema.router import Fallbacks, RouterSettings


class Root(Section):
    """The sections of the file. You may use names that start with `x-` as you like (YAML anchors, notes)."""

    model_list: list[ModelEntry] = key(..., "The deployments. See *model_list*.", min_length=1)
    router_settings: RouterSettings = key(RouterSettings(), "See *router_settings*.")
    litellm_settings: LitellmSettings = key(LitellmSettings(), "See *litellm_settings*.")
    general_settings: GeneralSettings = key(GeneralSettings(), "See *general_settings*.")
    gatewayd: Gatewayd = key(Gatewayd(), "See *gatewayd*.")
    fallbacks: Fallbacks | None = key(
        None,
        "The same as `router_settings.fallbacks`, which takes precedence; a plain list `[a, b]` is for every group.",
    )
    environment_variables: dict[str, Any] = key(
        {},
        "Environment variables, set before references are resolved. Values are text or numbers.",
        secret=True,
    )
    credential_list: list[Credential] = key([], "See *credential_list*.")
    include: list[str] = key(
        [],
        "Files to merge into this one, relative to it, or patterns such as `conf.d/*.yaml`. Lists are joined. Any "
        "other value in an included file replaces the value in this one.",
    )


SECTIONS: Mapping[str, type[Section]] = {
    "router_settings": RouterSettings,
    "litellm_settings": LitellmSettings,
    "general_settings": GeneralSettings,
    "gatewayd": Gatewayd,
}
"""The sections that are one mapping each."""
