"""The validator by example: one class for files and code, snapshots, ids, identities, what it shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatewayd.config.problems import Problem, errors, warnings
from gatewayd.config.schema.base import Section, nested
from gatewayd.config.schema.own import Gatewayd
from gatewayd.config.snapshot import Deployment, Snapshot
from gatewayd.config.validator import ConfigValidator
from gatewayd.errors import ConfigInvalid
from tests.work import grows_evenly, steps

KEY = "sk-canary-0123456789"
ENVIRON = {"OPENAI_API_KEY": KEY, "NUMBER": "7"}


def entry(name: str = "gpt", info: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    params = {"model": "openai/gpt-4o", "api_key": "os.environ/OPENAI_API_KEY", **params}
    return {"model_name": name, "litellm_params": params, **({} if info is None else {"model_info": info})}


def snapshot(*entries: dict[str, Any], **sections: Any) -> Snapshot:
    return ConfigValidator(environ=ENVIRON).validate({"model_list": list(entries or [entry()]), **sections})


def problems(*entries: dict[str, Any], **sections: Any) -> tuple[Problem, ...]:
    return ConfigValidator(environ=ENVIRON).check({"model_list": list(entries or [entry()]), **sections}).problems


def only(*entries: dict[str, Any], **params: Any) -> Deployment:
    return snapshot(*(entries or [entry(**params)])).deployments[0]


class TestSources:
    def test_a_mapping_has_the_same_problems_without_places(self) -> None:
        (problem,) = problems(entry(rpm="many"))
        assert (problem.code, problem.path, problem.line) == ("wrong_type", "model_list[0].litellm_params.rpm", 0)

    def test_validate_raises_with_everything(self) -> None:
        with pytest.raises(ConfigInvalid) as caught:
            ConfigValidator(environ={}).validate({"model_list": [entry(rpm=-1)], "surprise": 1})
        assert {p.code for p in caught.value.problems} == {"reference_unresolved", "out_of_range", "unknown_key"}

    def test_a_missing_file_is_one_problem(self, tmp_path: Path) -> None:
        result = ConfigValidator(environ={}).check(tmp_path / "none.yaml")
        assert [p.code for p in result.problems] == ["config_missing"]
        assert result.snapshot is None
        assert result.files == (str(tmp_path / "none.yaml"),)

    def test_broken_yaml_earns_no_second_problem(self, tmp_path: Path) -> None:
        """What cannot be read is not called incomplete on top."""
        path = tmp_path / "c.yaml"
        path.write_text("model_list: [a\n")
        assert [p.code for p in ConfigValidator(environ={}).check(path).problems] == ["yaml_syntax"]

    def test_the_environment_defaults_to_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOME_TEST_KEY", "sk-x")
        config = {"model_list": [entry(api_key="os.environ/SOME_TEST_KEY")]}
        assert ConfigValidator().validate(config).deployments[0].api_key is not None

    def test_files_that_hold_secrets_belong_to_the_snapshot(self, tmp_path: Path) -> None:
        """A rotated key is a new revision, and its file is watched."""
        (tmp_path / "key").write_text("sk-one\n")
        config = tmp_path / "c.yaml"
        config.write_text("model_list: [{model_name: a, litellm_params: {model: openai/a, api_key: 'file:key'}}]")
        first = ConfigValidator(environ={}).validate(config)
        assert first.files == (str(config), str(tmp_path / "key"))
        assert first.deployments[0].api_key is not None
        assert first.deployments[0].api_key.reveal() == "sk-one"
        (tmp_path / "key").write_text("sk-two\n")
        second = ConfigValidator(environ={}).validate(config)
        assert second.revision != first.revision
        assert second.deployments[0].identity != first.deployments[0].identity
        assert second.deployments[0].id == first.deployments[0].id

    def test_place_is_file_and_line(self, tmp_path: Path) -> None:
        config = tmp_path / "c.yaml"
        config.write_text(
            "\nmodel_list:\n  - model_name: a\n    litellm_params: {model: openai/a, mock_response: hi}\n"
        )
        assert ConfigValidator(environ={}).validate(config).deployments[0].place == f"{config}:3"


class TestReferences:
    def test_numbers_and_truth_values_may_be_references(self) -> None:
        deployment = only(rpm="os.environ/NUMBER", timeout="os.environ/NUMBER")
        assert (deployment.rpm, deployment.timeout) == (7, 7.0)

    def test_the_file_exports_before_it_looks_up(self) -> None:
        made = snapshot(
            entry(api_key="os.environ/MINE"), environment_variables={"MINE": "os.environ/OPENAI_API_KEY", "PATH": "/x"}
        )
        assert made.environment == {"MINE": KEY}
        assert made.deployments[0].api_key is not None
        assert made.deployments[0].api_key.reveal() == KEY

    def test_an_unresolved_reference_is_one_problem(self) -> None:
        """E-15: the variable is named; nothing else is said about the key."""
        (problem,) = problems(entry(rpm="os.environ/NOT_SET"))
        assert (problem.code, problem.path) == ("reference_unresolved", "model_list[0].litellm_params.rpm")
        assert "NOT_SET" in problem.message

    @pytest.mark.parametrize(
        ("params", "sections"),
        [
            ({"model": "os.environ/NOT_SET"}, {}),
            ({"custom_llm_provider": "os.environ/NOT_SET"}, {}),
            ({"api_base": "os.environ/NOT_SET"}, {}),
            ({"litellm_credential_name": "os.environ/NOT_SET"}, {}),
            ({}, {"general_settings": {"completion_model": "os.environ/NOT_SET"}}),
            ({}, {"router_settings": {"fallbacks": [{"gpt": ["os.environ/NOT_SET"]}]}}),
            ({}, {"router_settings": {"model_group_alias": {"a": "os.environ/NOT_SET"}}}),
            ({}, {"gatewayd": {"listen": "os.environ/NOT_SET"}}),
        ],
    )
    def test_nothing_else_is_said_about_the_name_that_was_not_found(
        self, params: dict[str, Any], sections: dict[str, Any]
    ) -> None:
        """E-15: an unknown name must not be called an unknown provider, group or credential as well."""
        assert [p.code for p in problems(entry(**params), **sections)] == ["reference_unresolved"]

    def test_what_was_looked_up_is_never_quoted(self) -> None:
        found = problems(
            entry(model="os.environ/OPENAI_API_KEY", litellm_credential_name="os.environ/OPENAI_API_KEY"),
            router_settings={
                "fallbacks": [{"gpt": ["os.environ/OPENAI_API_KEY"]}],
                "model_group_alias": {"a": "os.environ/OPENAI_API_KEY"},
                "routing_strategy": "os.environ/OPENAI_API_KEY",
            },
            general_settings={"completion_model": "os.environ/OPENAI_API_KEY"},
            gatewayd={"listen": "os.environ/OPENAI_API_KEY", "ignore_unsupported": ["os.environ/OPENAI_API_KEY"]},
        )
        assert len(errors(found)) >= 7
        assert not [p for p in found if KEY in json.dumps(p.as_dict())]

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_numbers_that_json_does_not_have_are_refused(self, number: float) -> None:
        for broken in (entry(extra_body={"a": number}), entry(info={"a": number}), entry(top_k=number)):
            assert [p.code for p in problems(broken)] == ["out_of_range"]

    @pytest.mark.parametrize("body", [{"a": "\ud800"}, {"\udc80": 1}])
    def test_what_cannot_be_sent_is_refused(self, body: dict[str, Any]) -> None:
        (problem,) = problems(entry(extra_body=body))
        assert (problem.code, problem.severity) == ("invalid_value", "error")
        assert problem.as_text().isprintable()

    def test_bytes_in_the_environment_that_are_no_text(self) -> None:
        environ = {"RAW": "sk-\udcff"}
        result = ConfigValidator(environ=environ).check({"model_list": [entry(api_key="os.environ/RAW")]})
        assert [p.code for p in result.problems] == ["invalid_value"]
        assert result.problems[0].message == "the referenced value is not UTF-8 text"


class TestKeys:
    """F10: a key from the environment goes to the provider's own address and nowhere else."""

    def test_the_environments_key_stays_at_home(self) -> None:
        away = entry(api_base="https://elsewhere.example/v1")
        del away["litellm_params"]["api_key"]
        deployment = only(away)
        assert deployment.api_key is None
        (warning,) = problems(away)
        assert (warning.code, warning.severity) == ("key_not_sent", "warning")
        assert "OPENAI_API_KEY" in warning.message

    def test_home_by_another_spelling_is_still_home(self) -> None:
        home = entry(api_base="https://api.openai.com/v1/")
        del home["litellm_params"]["api_key"]
        assert only(home).api_key is not None

    def test_an_address_and_a_key_from_the_environment_belong_together(self) -> None:
        bare = {"model_name": "a", "litellm_params": {"model": "openai/a"}}
        environ = {**ENVIRON, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
        deployment = ConfigValidator(environ=environ).validate({"model_list": [bare]}).deployments[0]
        assert deployment.api_base == "http://127.0.0.1:9/v1"
        assert deployment.api_key is not None

    def test_an_empty_key_is_no_key(self) -> None:
        assert only(api_base="http://127.0.0.1:9/v1", api_key="").api_key is None

    def test_an_address_of_the_environment_that_is_none_is_told_by_its_variable(self) -> None:
        environ = {**ENVIRON, "OPENAI_BASE_URL": "localhost:8000"}
        (problem,) = ConfigValidator(environ=environ).check({"model_list": [entry()]}).problems
        assert problem.code == "invalid_url"
        assert problem.message.startswith("OPENAI_BASE_URL is set: ")
        assert "localhost" not in problem.message

    def test_the_variable_that_is_usual_is_the_one_to_set(self) -> None:
        (problem,) = problems(entry(model="mistral/mistral-large-latest", api_key=None))
        assert problem.code == "missing_api_key"
        assert str(problem.hint).startswith("set MISTRAL_API_KEY, or")

    def test_azure_takes_its_version_from_the_environment(self) -> None:
        azure = entry(model="azure/x", api_base="https://r.openai.azure.com")
        environ = {**ENVIRON, "AZURE_API_VERSION": "2024-10-21"}
        made = ConfigValidator(environ=environ).validate({"model_list": [azure]})
        assert made.deployments[0].api_version == "2024-10-21"


class TestIdentity:
    def test_reordering_keeps_identities_and_the_ids_of_other_groups(self) -> None:
        one, two = entry(), entry("mini", model="openai/gpt-4o-mini")
        forth, back = snapshot(one, two).deployments, snapshot(two, one).deployments
        assert [(d.id, d.identity) for d in forth] == [(d.id, d.identity) for d in reversed(back)]

    def test_reordering_a_group_keeps_identities(self) -> None:
        """U-D4: ids of one group follow its order, so that `gpt-2` is the second."""
        one, two = entry(), entry(model="openai/gpt-4o-mini")
        forth, back = snapshot(one, two).deployments, snapshot(two, one).deployments
        assert [d.identity for d in forth] == [d.identity for d in reversed(back)]
        assert [d.id for d in forth] == [d.id for d in back] == ["gpt", "gpt-2"]

    def test_equal_entries_have_different_ids_and_identities(self) -> None:
        made = snapshot(entry(), entry(), entry()).deployments
        assert len({d.id for d in made}) == len({d.identity for d in made}) == 3

    def test_a_given_id_is_not_taken_twice(self) -> None:
        derived = only().id
        made = snapshot(entry(model="openai/other", info={"id": derived}), entry()).deployments
        assert [d.id for d in made] == [derived, f"{derived}-2"]

    @pytest.mark.parametrize(
        "change",
        [
            {"weight": 5}, {"rpm": 1}, {"tpm": 1}, {"order": 1}, {"num_retries": 0}, {"cooldown_time": 3},
            {"timeout": 5}, {"stream_timeout": 5}, {"tags": ["a"]}, {"info": {"base_model": "gpt-4o", "team": "x"}},
            {"input_cost_per_token": 0.1},
        ],
    )  # fmt: skip
    def test_tuning_keeps_health_and_id(self, change: dict[str, Any]) -> None:
        """U-A11: what changes neither the bytes that are sent nor their address."""
        assert (only(**change).id, only(**change).identity) == (only().id, only().identity)

    @pytest.mark.parametrize(
        "change",
        [
            {"api_base": "http://other/v1"},
            {"api_key": "another"},
            {"extra_body": {"a": 1}},
            {"extra_headers": {"x-a": "1"}},
            {"temperature": 0.5},
            {"drop_params": True},
            {"organization": "o"},
        ],
    )
    def test_what_is_sent_is_part_of_the_identity(self, change: dict[str, Any]) -> None:
        assert only(**change).identity != only().identity

    def test_a_new_value_of_a_variable_changes_the_identity_and_not_the_id(self) -> None:
        config = {"model_list": [entry()]}
        old, new = (ConfigValidator(environ={"OPENAI_API_KEY": key}).validate(config) for key in ("one", "two"))
        assert old.deployments[0].id == new.deployments[0].id
        assert old.deployments[0].identity != new.deployments[0].identity

    def test_entries_that_differ_in_an_inline_key_have_different_ids(self) -> None:
        made = snapshot(entry(api_key="one"), entry(api_key="two")).deployments
        assert made[0].id != made[1].id


class TestWhatGoesUpstream:
    @pytest.mark.parametrize(
        "params",
        [
            {"input_cost_per_image": 0.06},
            {"cache_read_input_token_cost_above_200k_tokens": 1e-6},
            {"langfuse_secret_key": "os.environ/OPENAI_API_KEY"},
            {"metadata": {"team": "x"}},
            {"auto_router_anything": 1},
            {"stream": True},
            {"supports_system_message": False},
        ],
    )
    def test_what_litellm_keeps_for_itself_stays_here(self, params: dict[str, Any]) -> None:
        """A key that is said to have no effect is in no request, whoever the provider is."""
        found = problems(entry(**params))
        assert [(p.severity, p.message.split(";")[0].split(":")[0]) for p in found] == [("warning", "has no effect")]
        assert only(**params).params == {}
        other = only(model="anthropic/claude-sonnet-4-5", **params)
        assert other.params == {}
        assert "langfuse_secret_key" not in other.litellm_params

    def test_options_of_streams(self) -> None:
        options = {"include_usage": True}
        assert only(stream_options=options).params == {"stream_options": options}
        assert only(model="cohere_chat/command-r", stream_options=options).params == {}


class TestHints:
    """Advice of `gatewayd check` that a person in a hurry may follow without making things worse."""

    @pytest.mark.parametrize(
        ("section", "name", "value", "hint"),
        [
            ("general_settings", "max_budget", 5, "where it has no effect either: budgets are not enforced"),
            ("general_settings", "num_retries", 5, "it belongs in router_settings"),
            ("router_settings", "fallback", [], "did you mean 'fallbacks'?"),
            ("general_settings", "fallbacks", [], "it belongs in router_settings"),
            ("general_settings", "model_list", [], "it belongs in the top level"),
            ("general_settings", "disable_auth", False, "clients need a key if general_settings.master_key is set"),
            ("litellm_settings", "num_workers", 4, "--workers"),
            ("router_settings", "enable_cooldowns", True, None),
        ],
    )
    def test_where_a_key_belongs(self, section: str, name: str, value: Any, hint: str | None) -> None:
        (problem,) = problems(**{section: {name: value}})
        assert (problem.hint is None) == (hint is None)
        assert hint is None or hint in str(problem.hint)

    @pytest.mark.parametrize(
        ("params", "hint"),
        [
            ({"additional_drop_params": "temperature"}, "put it in brackets"),
            ({"drop_params": ["tool_choice"]}, "additional_drop_params"),
            ({"drop_params": "some"}, None),
        ],
    )
    def test_the_form_of_a_value(self, params: dict[str, Any], hint: str | None) -> None:
        (problem,) = problems(entry(**params))
        assert problem.code == "wrong_type"
        assert (problem.hint is None) if hint is None else (hint in str(problem.hint))

    def test_keys_that_are_not_indented_enough(self) -> None:
        found = problems({"model_name": "gpt", "litellm_params": None, "model": "openai/gpt-4o", "api_key": "k"})
        assert {p.hint for p in warnings(found)} == {"it belongs in litellm_params: indent it"}

    def test_a_form_of_fallbacks_that_nobody_reads(self) -> None:
        found = problems(litellm_settings={"fallbacks": [{"model_name": "gpt", "fallback_models": ["gpt"]}]})
        assert {problem.hint for problem in found} == {"the form is `fallbacks: [{GROUP: [OTHER, ANOTHER]}]`"}


class TestSeverity:
    def test_one_bad_deployment_refuses_the_whole_file(self) -> None:
        """E-16: atomic."""
        result = ConfigValidator(environ=ENVIRON).check({"model_list": [entry(), entry(rpm="x"), entry()]})
        assert result.snapshot is None

    def test_names_of_wrong_entries_are_still_names(self) -> None:
        """An entry that is wrong elsewhere does not make every fallback to it wrong too."""
        found = problems(entry(), entry("other", rpm="x"), router_settings={"fallbacks": [{"gpt": ["other"]}]})
        assert [p.code for p in found] == ["wrong_type"]

    def test_a_mistyped_model_name_is_one_mistake(self) -> None:
        """What refers to the group is not wrong as well."""
        mistyped = {"modle_name": "gpt", "litellm_params": {"model": "openai/gpt-4o"}}
        found = problems(
            mistyped,
            router_settings={"fallbacks": [{"gpt": ["gpt"]}], "model_group_alias": {"a": "gpt"}},
            general_settings={"completion_model": "gpt", "embedding_model": "other"},
        )
        assert sorted((p.code, p.path) for p in errors(found)) == [
            ("missing_key", "model_list[0].model_name"),
            ("unknown_group", "general_settings.embedding_model"),
        ]

    def test_where_there_is_no_group_none_is_listed(self) -> None:
        found = problems({"litellm_params": {"model": "openai/gpt-4o"}}, general_settings={"completion_model": "gpt"})
        assert [(p.code, p.hint) for p in found] == [("missing_key", None), ("unknown_group", None)]

    def test_a_wrong_section_does_not_hide_the_rest(self) -> None:
        found = problems(general_settings={"master_key": "sk-0123456789abcdef", "completion_model": 5}, gatewayd={
            "listen": "0.0.0.0:4000", "drain": -1})  # fmt: skip
        assert {p.path for p in found} == {"general_settings.completion_model", "gatewayd.drain"}

    def test_accepted_guards_are_warnings(self) -> None:
        found = problems(guardrails=[{"a": 1}], gatewayd={"ignore_unsupported": ["guardrails"]})
        assert [(p.code, p.severity) for p in found] == [("ignored_key", "warning")]

    def test_a_key_in_many_entries_is_reported_once(self) -> None:
        found = problems(*(entry(tags=["a"]) for _ in range(5)))
        assert len(found) == 1
        assert "(5 times in all)" in found[0].message

    def test_circles_are_told_and_allowed(self) -> None:
        """Each group is tried once for a request, so `a → b → a` is a plan and no trap."""
        circle = [{"gpt": ["b"]}, {"b": ["c"]}, {"c": ["gpt"]}]
        made = problems(entry(), entry("b"), entry("c"), router_settings={"fallbacks": circle})
        assert [p.code for p in warnings(made)] == ["fallback_cycle"]
        assert "gpt → b → c → gpt" in made[0].message

    def test_two_groups_may_back_each_other_up(self) -> None:
        """U-D9"""
        assert problems(entry(), entry("b"), router_settings={"fallbacks": [{"gpt": ["b"]}, {"b": ["gpt"]}]}) == ()


class TestEffective:
    def test_references_stay_and_secrets_go(self) -> None:
        made = snapshot(
            entry(
                extra_headers={"authorization": "Bearer sk-inline"},
                extra_body={"api_key": "sk-inline", "n": 3},
                api_base="https://host.example/v1?key=sk-inline",
            ),
            general_settings={"master_key": "sk-inline-master-key"},
            environment_variables={"A": "sk-inline"},
            credential_list=[{"credential_name": "c", "credential_values": {"api_key": "sk-inline"}}],
        )
        text = json.dumps(made.effective)
        assert "sk-inline" not in text
        assert KEY not in text
        params = made.effective["model_list"][0]["litellm_params"]
        assert params["api_key"] == "os.environ/OPENAI_API_KEY"
        assert params["extra_body"] == {"api_key": "***", "n": 3}
        assert made.effective["general_settings"]["master_key"] == "***"

    def test_every_key_of_the_own_section_is_shown(self) -> None:
        def names(section: type[Section]) -> dict[str, Any]:
            inner = {name: names(child) for name, child, _ in nested(section)}
            return {name: inner.get(name) for name in section.model_fields}

        def shown(tree: dict[str, Any]) -> dict[str, Any]:
            return {name: shown(value) if isinstance(value, dict) else None for name, value in tree.items()}

        effective = snapshot().effective["gatewayd"]
        assert shown(effective) == names(Gatewayd)
        assert snapshot(gatewayd=effective).effective["gatewayd"] == effective

    def test_defaults_are_filled_in(self) -> None:
        effective = snapshot(router_settings={"fallbacks": ["gpt"]}).effective
        assert effective["router_settings"]["num_retries"] == 2
        assert effective["router_settings"]["fallbacks"] == [{"*": ["gpt"]}]
        assert effective["gatewayd"]["listen"] == ["127.0.0.1:4000"]
        assert effective["gatewayd"]["limits"] == {"body_mb": 32.0, "bodies_mb": 256.0, "connections": "auto"}
        params = effective["model_list"][0]["litellm_params"]
        assert params["api_base"] == "https://api.openai.com/v1"

    def test_it_is_a_configuration_again(self) -> None:
        effective = snapshot(
            entry(info={"id": "x"}),
            general_settings={"completion_model": "gpt"},
            router_settings={"model_group_alias": {"a": {"model": "gpt", "hidden": True}}, "fallbacks": {"gpt": "gpt"}},
        ).effective
        again = ConfigValidator(environ=ENVIRON).check(effective)
        assert errors(again.problems) == []
        assert again.snapshot is not None
        assert again.snapshot.effective == effective


class TestSize:
    """The work grows with the file, not with its square."""

    def test_many_deployments(self) -> None:
        def work(count: int) -> Callable[[], object]:
            entries = [entry(f"group-{n // 2}", {"id": f"d-{n}"}, model=f"openai/m-{n}", rpm=n) for n in range(count)]
            fallbacks = [{f"group-{n}": [f"group-{n + 1}"]} for n in range(count // 2 - 1)]
            return lambda: snapshot(*entries, router_settings={"fallbacks": fallbacks})

        grows_evenly(work, 200)
        made = work(2_000)()
        assert isinstance(made, Snapshot)
        assert len(made.deployments) == 2_000

    def test_wrong_everywhere(self) -> None:
        def found(count: int) -> tuple[Problem, ...]:
            entries = [entry(f"g-{n}", None, model=f"provider{n}/x", **{f"paramter_{n}": 1}) for n in range(count)]
            fallbacks = [{f"gruop-{n}": [f"goup-{n}"]} for n in range(count)]
            return problems(*entries, router_settings={"fallbacks": fallbacks})

        made: list[Problem] = []
        assert steps(lambda: made.extend(found(2_000))) < 10 * steps(lambda: found(200))
        assert {p.code for p in made} == {"unknown_provider", "unused_fallback", "too_many_problems"}


@pytest.mark.parametrize(
    ("params", "info", "family"),
    [
        ({"model": "azure/mine"}, {"base_model": "azure/gpt-5"}, "gpt-5"),
        ({"model": "azure/mine", "base_model": "gpt-5.1"}, {"base_model": "azure/gpt-4o"}, "gpt-5.1"),
        ({"model": "azure/gpt5_series/mine"}, None, "gpt5_series/mine"),
        ({"model": "azure/o_series/mine"}, None, "o_series/mine"),
        ({"model": "azure/gpt-4o"}, None, ""),
        ({"model": "openai/gpt-4o"}, {"base_model": "gpt-5"}, ""),
    ],
)
def test_what_model_is_behind_a_free_name(params: dict[str, str], info: dict[str, str] | None, family: str) -> None:
    """U-A6: the names of Azure's deployments are free; litellm's hints and base_model say what they are."""
    one = only(entry(info=info, api_base="https://r.openai.azure.com", api_key="k", api_version="v2", **params))
    assert one.family == family


def test_what_drop_params_leaves_in_is_part_of_a_deployment() -> None:
    """U-A5: allowed_openai_params of forwarded deployments; another list is another deployment."""
    one, other = only(allowed_openai_params=["top_p"]), only()
    assert (one.allowed_openai_params, other.allowed_openai_params) == (("top_p",), ())
    assert one.identity != other.identity
