"""YAML to nodes: the tree of `yaml.safe_load`, limits that strike early, and no input that raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatewayd.config.nodes import AnyNode, MappingNode
from gatewayd.config.problems import Problem, errors
from gatewayd.config.yaml_reader import MAX_ALIASES, MAX_DEPTH, MAX_KEYS, MAX_PROBLEMS, Budget, read_yaml
from tests.work import grows_evenly, steps

STEPS = 4_000_000
"""The most that is done with a file before it is refused: three quarters of it for the most nodes that are allowed."""
SAMPLE = """\
# a sample with most of what YAML has
defaults: &defaults
  timeout: 1.5
  headers: {x-team: core, "x-quoted": 'it''s'}
model_list:
  - model_name: demo
    litellm_params: {<<: *defaults, model: openai/gpt-4o, rpm: 10, stop: ["a", 'b', c]}
  - model_name: "ünïcode \\u00e9"
    litellm_params:
      <<: [*defaults, {timeout: 3}]
      model: anthropic/claude
      system: |
        Line one
          Line two
      note: >-
        folded
        text
general_settings:
  master_key: os.environ/MASTER_KEY
  since: 2026-11-01
  empty:
  flag: off
"""


def read(data: str | bytes, **options: Any) -> tuple[AnyNode | None, list[Problem]]:
    return read_yaml(data.encode() if isinstance(data, str) else data, "f.yaml", Budget(), **options)


def tree(data: str | bytes) -> Any:
    root, problems = read(data)
    assert root is not None
    assert problems == []
    return root.value


def only(data: str | bytes, **options: Any) -> tuple[str, int, int]:
    (problem,) = read(data, **options)[1]
    return problem.code, problem.line, problem.column


# --- the same tree as safe_load ---------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.dates()
    | st.text(max_size=8)
    | st.sampled_from(
        ["no", "1:30", "010", "<<", "=", "", "- x", "a: b", "*a", "&a", "!x", "os.environ/X", "\ud7ff", "🎲"]
    )
)
keys = st.text(st.characters(codec="utf-8"), max_size=6)
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


@settings(max_examples=150)
@given(trees, st.sampled_from([None, False, True]))
def test_whatever_safe_dump_writes_is_read_back(value: Any, flow: bool | None) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        root, problems = read(text, loader=loader)
        assert problems == []
        assert root is not None
        assert root.value == yaml.safe_load(text)


@settings(max_examples=400)
@given(st.text("ab1:-?[]{},&*!|>'\"%@#<= \n\t.~/", max_size=40))
@example("a: &x {b: 1}\nc: {d: *x}")
def test_any_text_is_either_refused_or_read_like_safe_load(text: str) -> None:
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        root, problems = read(text, loader=loader)
        if not problems and not any(odd in text for odd in ("=", "<<")):
            # PyYAML has no constructor for a lone `=` or a `<<` that is no key; here they are text.
            assert (None if root is None else root.value) == yaml.load(text, Loader=loader)


def test_merges_anchors_and_block_scalars() -> None:
    value = tree(SAMPLE)
    assert value == yaml.safe_load(SAMPLE)
    assert value["model_list"][1]["litellm_params"]["timeout"] == 1.5


def test_own_keys_win_over_merged_ones() -> None:
    assert tree("base: &b {key: 1, other: 2}\nmine:\n  key: 3\n  <<: *b\n")["mine"] == {"key": 3, "other": 2}


def test_a_decimal_key_is_text_with_a_warning() -> None:
    root, problems = read("logit_bias: {50256: -100}")
    assert root is not None
    assert root.value == {"logit_bias": {"50256": -100}}
    assert [(p.code, p.severity, p.path) for p in problems] == [("yaml_key", "warning", "logit_bias.50256")]


def test_a_decimal_key_and_the_same_as_text_are_duplicates() -> None:
    """E-10."""
    _, problems = read('1: a\n"1": b')
    assert [p.code for p in errors(problems)] == ["yaml_duplicate_key"]


def test_crlf_and_byte_order_mark_are_tolerated() -> None:
    """E-12."""
    assert tree("\ufeffa: 1\r\nb:\r\n  - c\r\n") == {"a": 1, "b": ["c"]}
    assert only("\ufeffa: 1\r\na: 2\r\n") == ("yaml_duplicate_key", 2, 1)


# --- nothing raises ---------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"%YAML 9" + b"9" * 5000 + b".1\n---\na: 1")
@example(b'"\\UFFFFFFFF"')
@example(b'"\\ud83d"')
@example(b"!!int x")
@example(b"? &a [*a]\n: *a")
@example(b"*a : b")
@example(b"? ? ? a")
def test_no_bytes_raise(data: bytes) -> None:
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        root, problems = read(data, loader=loader)
        assert root is None or isinstance(root.line, int)
        assert all(p.code and p.line >= 1 and p.column >= 1 for p in problems)


def test_no_prefix_of_a_file_raises() -> None:
    """E-04: what a half-written file can look like; those that are not well-formed say so."""
    data = SAMPLE.encode()
    for end in range(len(data)):
        root, problems = read(data[:end])
        assert problems or root is None or isinstance(root, MappingNode) or root.line >= 1


@settings(max_examples=150)
@given(st.integers(0, len(SAMPLE) - 1), st.sampled_from("\0\t\n :-*&!{}[]\"'%@`#\u00a0\ufeff\x85"))
def test_no_changed_character_raises(index: int, char: str) -> None:
    read(SAMPLE[:index] + char + SAMPLE[index + 1 :])
    read(SAMPLE[:index] + char + SAMPLE[index:])


# --- limits -----------------------------------------------------------------------------------------------------------


def laughs(width: int, levels: int) -> str:
    lines = ["x0: &x0 [" + ",".join(["lol"] * width) + "]"]
    lines += [f"x{i}: &x{i} [" + ",".join([f"*x{i - 1}"] * width) + "]" for i in range(1, levels)]
    return "\n".join(lines)


def merge_bomb(width: int, levels: int) -> str:
    lines = ["x0: &x0 {k: 1}"]
    lines += [f"x{i}: &x{i}\n  <<: [{','.join([f'*x{i - 1}'] * width)}]\n  k{i}: 1" for i in range(1, levels)]
    return "\n".join(lines)


def chain(levels: int) -> str:
    return "\n".join(["x0: &x0 []"] + [f"x{i}: &x{i} [*x{i - 1}]" for i in range(1, levels)])


@pytest.mark.parametrize(
    "data",
    [
        "[" * 30_000 + "]" * 30_000,
        "model_list: " + "[" * 1_000_000,
        "{a: " * 30_000,
        "- " * 30_000,
        "- " * 1_000_000,
        "? " * 30_000,
        "".join(" " * depth + "a:\n" for depth in range(1000)),
        laughs(9, 9),
        merge_bomb(10, 8),
        chain(MAX_DEPTH + 2),
        "a: &a 1\nb: [" + "*a," * 1_000_000 + "]",
        "a: &a {" + ",".join(f"k{i}: 1" for i in range(20_000)) + "}\n" + "b:\n" + "- {<<: *a}\n" * 900,
    ],
    ids=[
        "brackets",
        "open",
        "braces",
        "dashes",
        "dashes1M",
        "question",
        "block",
        "laughs",
        "merge",
        "chain",
        "aliases",
        "wide",
    ],
)
def test_bombs_are_refused_at_once(data: str) -> None:
    """E-08, E-09: PyYAML's own C composer dies of the first, its constructor computes for hours on others."""
    codes: list[str] = []
    assert steps(lambda: codes.extend(p.code for p in read(data)[1])) < STEPS
    assert codes == ["config_limit"]


@pytest.mark.parametrize("data", ["&a [*a]", "&a {b: *a}", "a: &a\n  - b:\n      - *a\n", "&a {<<: *a}"])
def test_recursive_anchors_are_refused(data: str) -> None:
    """E-09."""
    assert read(data)[1][0].code == "yaml_alias"


def test_the_limits_themselves_are_allowed() -> None:
    assert tree("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert tree(chain(MAX_DEPTH - 1))
    assert tree("a: &a 1\nb: [" + "*a," * MAX_ALIASES + "]")
    assert tree(merge_bomb(3, 8))["x7"]["k7"] == 1


def test_files_share_one_budget() -> None:
    budget = Budget()
    data = ("a: &a 1\nb: [" + "*a," * (MAX_ALIASES // 2) + "]").encode()
    assert read_yaml(data, "one", budget)[1] == []
    assert read_yaml(data, "two", budget)[1] == []
    assert [p.code for p in read_yaml(data, "three", budget)[1]] == ["config_limit"]


def test_problems_are_listed_up_to_a_limit() -> None:
    _, problems = read("".join("a: 1\n" for _ in range(100_000)))
    assert [p.code for p in problems] == ["yaml_duplicate_key"] * MAX_PROBLEMS + ["config_limit"]


def test_warnings_do_not_use_up_the_room_of_errors() -> None:
    _, problems = read("a: {" + ",".join(f"{i}: 1" for i in range(5000)) + "}\nb: 1\nb: 2")
    assert len(problems) == MAX_PROBLEMS + 1
    assert [p.code for p in errors(problems)] == ["yaml_duplicate_key"]


def test_the_work_of_reading_grows_with_the_models() -> None:
    """Not with their square; ten thousand are read."""
    entry = "- model_name: m{0}\n  litellm_params: {{model: openai/x{0}, api_key: os.environ/K{0}, rpm: {0}}}\n"

    def work(count: int) -> Callable[[], object]:
        data = "model_list:\n" + "".join(entry.format(i) for i in range(count))
        return lambda: len(tree(data)["model_list"])

    grows_evenly(work, 200)
    assert work(10_000)() == 10_000


# --- findings ---------------------------------------------------------------------------------------------------------


def test_duplicate_keys_name_both_lines() -> None:
    """E-10."""
    _, problems = read("model_list: []\nlitellm_settings: {}\nmodel_list: []\n")
    (problem,) = problems
    assert (problem.code, problem.line, problem.column, problem.path) == ("yaml_duplicate_key", 3, 1, "model_list")
    assert "on line 1 and again on line 3" in problem.message


def test_all_findings_of_one_file_are_reported_with_their_paths() -> None:
    """E-16."""
    data = "a: {b: 1, b: 2}\nc:\n  - d: !secret x\n    on: 1\n  - 2026-13-45\n"
    assert [(p.code, p.path) for p in read(data)[1]] == [
        ("yaml_duplicate_key", "a.b"),
        ("yaml_tag", "c[0].d"),
        ("yaml_key", "c[0].on"),
        ("yaml_value", "c[1]"),
    ]


def test_a_key_is_named_without_what_a_terminal_would_act_on() -> None:
    """E-16."""
    (problem,) = read('"\\e[31m": 1\n"\\e[31m": 2\n')[1]
    assert problem.path == r"\x1b[31m"
    assert "\x1b" not in problem.as_text()


def test_python_tags_construct_nothing() -> None:
    """E-14."""
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        assert only('!!python/object/apply:os.system ["id"]', loader=loader) == ("yaml_tag", 1, 1)


def test_a_tag_cannot_smuggle_control_characters_into_a_message() -> None:
    _, problems = read("a: !x%0a%1b[31mred 1\n")
    assert all(char.isprintable() for problem in problems for char in problem.message)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("a: 1\na: 2", "yaml_duplicate_key"),
        ("a:\n\tb", "yaml_syntax"),
        ("a: [", "yaml_syntax"),
        ("x: *y", "yaml_alias"),
        ("a: 1\n---\nb", "yaml_documents"),
        ("- " * 1000, "config_limit"),
        ('a: "\\ud83d"', "yaml_character"),
        ('"\\UFFFFFFFF"', "yaml_syntax"),
    ],
)
def test_the_pure_python_parser_serves_as_well(data: str, code: str) -> None:
    assert [p.code for p in read(data, loader=yaml.SafeLoader)[1]] == [code]


def test_a_mapping_with_too_many_keys_ends_the_reading() -> None:
    """U-F13: 900,000 unknown keys are refused after the first hundred thousand."""
    (problem,) = read("".join(f"k{number}: 1\n" for number in range(MAX_KEYS + 2)))[1]
    assert problem.code == "config_limit"
    assert problem.message == "more than 100000 keys or entries in one place"


def test_keys_that_are_too_many_in_all_are_refused_where_the_limit_is_passed() -> None:
    """U-F13: 360,000 unknown keys, in four places."""
    place = "- {" + ", ".join(f"k{n}: 1" for n in range(90_000)) + "}\n"
    node, problems = read(place * 4)
    assert node is None
    assert [problem.code for problem in problems] == ["config_limit"]
    assert "600000 values" in problems[0].message
    assert problems[0].line == 4
