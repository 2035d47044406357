"""`include:`: merged as litellm does, with every way to get it wrong named and placed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayd.config import include
from gatewayd.config.document import Document, Position
from gatewayd.config.source import read
from gatewayd.config.validator import ConfigValidator


def lay(folder: Path, **files: str) -> Path:
    """Writes files (`__` in a name is a folder, suffix .yaml) and returns the path of `main`."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "main.yaml"


def codes(document: Document) -> list[tuple[str, str, int, int]]:
    return [(p.code, Path(p.file).name, p.line, p.column) for p in document.problems]


def test_lists_are_joined_and_other_values_replaced(tmp_path: Path) -> None:
    main = lay(
        tmp_path,
        main="include: [one.yaml, two.yaml]\nmodel_list: [a]\nlitellm_settings: {x: 1, y: 1}\nn: 1\n",
        one="model_list: [b]\nlitellm_settings: {x: 2}\nextra: [e]\n",
        two="model_list: [c]\nextra: [f]\nn: 2\n",
    )
    document = read(main)
    assert document.tree == {
        "model_list": ["a", "b", "c"],
        "litellm_settings": {"x": 2},
        "extra": ["e", "f"],
        "n": 2,
    }
    assert codes(document) == [("include_replaced", "one.yaml", 2, 1)]
    assert document.problems[0].severity == "warning"
    assert f"in {main}, line 3" in document.problems[0].message


def test_positions_name_the_file_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, main="include: [sub/one.yaml]\nmodel_list:\n- m: a\n", sub__one="model_list:\n- m: b\nx: 010\n")
    monkeypatch.chdir(tmp_path)
    document = read("main.yaml")
    assert document.locate(("model_list", 0, "m"), False) == Position("main.yaml", 3, 6)
    assert document.locate(("model_list", 1, "m"), True) == Position("sub/one.yaml", 2, 3)
    assert document.locate(("x",), True) == Position("sub/one.yaml", 3, 1)
    assert document.spelling(("x",)) == "010"
    assert document.locate(("include",), True) == document.locate((), False)
    assert document.files == (str(tmp_path / "main.yaml"), str(tmp_path / "sub" / "one.yaml"))


def test_nested_files_come_after_their_siblings(tmp_path: Path) -> None:
    """The result is that of litellm 1.106.2 (proxy/common_utils/config_includes.py) for the same files."""
    main = lay(
        tmp_path,
        main="include: [a.yaml, sub/b.yaml, a.yaml]\nl: [m]\nd: {m: 1}\ns: m\nmixed: [1]\n",
        a="include: [c.yaml]\nl: [a]\nd: {a: 1}\nmixed: {a: 1}\n",
        sub__b="include: [../c.yaml, d.yaml]\nl: [b]\ns: b\nmixed: [b]\n",
        c="l: [c]\nd: {c: 1}\nonly: [c]\ns: c\n",
        sub__d="l: [d]\nonly: [d]\nmixed: [d]\n",
    )
    assert read(main).tree == {
        "l": ["m", "a", "b", "c", "d"],
        "d": {"c": 1},
        "s": "c",
        "mixed": ["b", "d"],
        "only": ["c", "d"],
    }


def test_an_anchored_list_is_not_extended_behind_its_alias(tmp_path: Path) -> None:
    main = lay(tmp_path, main="include: [one.yaml]\na: &l [1]\nb: *l\n", one="a: [2]\n")
    assert read(main).tree == {"a": [1, 2], "b": [1]}


def test_patterns_are_sorted_and_skip_the_file_itself(tmp_path: Path) -> None:
    main = lay(
        tmp_path,
        main="include: ['*.yaml', 'conf.d/*.yaml']\nl: [main]\n",
        other="l: [other]\n",
        **{"conf.d__20": "l: [20]\n", "conf.d__10": "l: [10]\n", "conf.d__.hidden": "l: [hidden]\n"},
    )
    document = read(main)
    assert document.tree == {"l": ["main", "other", 10, 20]}
    assert document.problems == []


def test_a_pattern_without_a_match_is_a_warning(tmp_path: Path) -> None:
    document = read(lay(tmp_path, main="include:\n  - conf.d/*.yaml\nl: []\n"))
    assert codes(document) == [("include_no_match", "main.yaml", 2, 5)]
    assert document.problems[0].severity == "warning"


def test_patterns_are_watched_for_files_to_come(tmp_path: Path) -> None:
    """E-31: what is watched are the files read, and the patterns by which others may join them."""
    folder = tmp_path / "[prod]"
    main = lay(
        folder,
        main="include: ['conf.d/*.yaml', sub/more.yaml, 'conf.d/*.yaml']\nmodel_list: []\n",
        **{"conf.d__a": "l: []\n", "sub__more": "include: ['x?.yaml']\n"},
    )
    document = read(main)
    assert document.files == tuple(f"{folder}/{name}" for name in ("main.yaml", "conf.d/a.yaml", "sub/more.yaml"))
    escaped = f"{tmp_path}/[[]prod]"
    assert document.patterns == (f"{escaped}/conf.d/*.yaml", f"{escaped}/sub/x?.yaml")
    assert ConfigValidator(environ={}).check(main).files == (*document.files, *document.patterns)


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    lay(tmp_path, main="include: ['a[1].yaml']\nl: []\n")
    (tmp_path / "a[1].yaml").write_text("l: [1]\n")
    assert read(tmp_path / "main.yaml").tree == {"l": [1]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("include: one.yaml\n", ("include_invalid", 1, 10)),
        ("include:\n", ("include_invalid", 1, 9)),
        ("include: [1]\n", ("include_invalid", 1, 11)),
        ("include: [one.yaml, {a: b}]\n", ("include_invalid", 1, 21)),
        ('include: ["a\\0b"]\n', ("include_invalid", 1, 11)),
        ("include:\n  - missing.yaml\n", ("include_missing", 2, 5)),
        ("include: [sub]\n", ("config_not_a_file", 1, 11)),
        ("include: [main.yaml]\n", ("include_cycle", 1, 11)),
        ("include: [sub/../main.yaml]\n", ("include_cycle", 1, 11)),
        ("include: [../x.yaml]\n", ("include_outside", 1, 11)),
        ("include: [/etc/passwd]\n", ("include_outside", 1, 11)),
        ("include: [../*.yaml]\n", ("include_outside", 1, 11)),
        ("include: [/etc/*.yaml]\n", ("include_outside", 1, 11)),
        ("include: [out.yaml]\n", ("include_outside", 1, 11)),
    ],
)
def test_bad_entries(tmp_path: Path, text: str, problem: tuple[str, int, int]) -> None:
    """E-31."""
    folder = tmp_path / "conf"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "x.yaml").write_text("l: []\n")
    (folder / "one.yaml").write_text("l: []\n")
    (folder / "out.yaml").symlink_to("../x.yaml")
    main = lay(folder, main=text + "l: [1]\n")
    document = read(main)
    assert codes(document) == [(problem[0], "main.yaml", *problem[1:])]
    assert document.tree == {"l": [1]}


def test_a_cycle_of_several_files(tmp_path: Path) -> None:
    """E-31."""
    main = lay(tmp_path, main="include: [a.yaml]\n", a="include: [b.yaml]\n", b="x: 1\ninclude:\n- a.yaml\n")
    document = read(main)
    assert codes(document) == [("include_cycle", "b.yaml", 3, 3)]


def test_a_file_reached_by_two_ways_is_read_once(tmp_path: Path) -> None:
    main = lay(
        tmp_path, main="include: [a.yaml, b.yaml]\n", a="include: [c.yaml]\n", b="include: [c.yaml]\n", c="l: [1]\n"
    )
    document = read(main)
    assert document.tree == {"l": [1]}
    assert document.problems == []


def test_absolute_paths_and_links_inside_the_folder_are_allowed(tmp_path: Path) -> None:
    """E-31; the layout of a Kubernetes volume, where every file is a link to `..data/file`."""
    data = tmp_path / "..2026"
    lay(data, main=f"include: [one.yaml, {tmp_path}/two.yaml]\n", one="l: [1]\n", two="l: [2]\n")
    (tmp_path / "..data").symlink_to("..2026")
    for name in ("main.yaml", "one.yaml", "two.yaml"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    document = read(tmp_path / "main.yaml")
    assert document.problems == []
    assert document.tree == {"l": [1, 2]}


def test_files_linked_one_by_one_from_elsewhere_are_allowed(tmp_path: Path) -> None:
    """The layout of stow and of Nix: each file is a link into one store folder."""
    store, home = tmp_path / "store", tmp_path / "home"
    lay(store, main="include: [one.yaml]\n", one="l: [1]\n")
    home.mkdir()
    for name in ("main.yaml", "one.yaml"):
        (home / name).symlink_to(store / name)
    assert read(home / "main.yaml").problems == []


def test_a_nested_entry_found_beside_the_main_file_only(tmp_path: Path) -> None:
    main = lay(tmp_path, main="include: [sub/a.yaml]\n", sub__a="include: [b.yaml]\n", b="l: [1]\n")
    document = read(main)
    assert document.tree == {"l": [1]}
    assert codes(document) == [("include_elsewhere", "a.yaml", 1, 11)]
    assert document.problems[0].severity == "warning"


def test_problems_of_an_included_file_carry_its_name(tmp_path: Path) -> None:
    main = lay(tmp_path, main="include: [a.yaml, b.yaml, c.yaml]\nx: 1\n", a="# nothing\n", b="- 1\n", c="a: 1\na: 2\n")
    assert codes(read(main)) == [
        ("config_empty", "a.yaml", 1, 1),
        ("config_not_mapping", "b.yaml", 1, 1),
        ("yaml_duplicate_key", "c.yaml", 2, 1),
    ]


def test_the_number_of_files_is_limited(tmp_path: Path) -> None:
    for index in range(include.MAX_FILES + 1):
        (tmp_path / f"f{index:04}.yaml").write_text(f"l: [{index}]\n")
    document = read(lay(tmp_path, main="include: ['f*.yaml']\n"))
    assert [p.code for p in document.problems] == ["config_limit"]
    assert len(document.files) == include.MAX_FILES
