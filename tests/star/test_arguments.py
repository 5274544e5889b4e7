"""`key=value` by a JSON schema, and the schemas that a server could send to harm us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcpapp.client.arguments import ArgumentProblems, from_pairs, problems_of, signature
from mcpapp.client.files import file_stem
from mcpapp.client.visible import as_json, gutter, one_line, visible
from tests.star.shell import Shell


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("part", "text", "value"),
    [
        ({"type": "string"}, "1", "1"),
        ({"type": "string"}, "null", "null"),
        ({"type": "string"}, "@@me", "@me"),
        ({"type": "string"}, "a=b", "a=b"),
        ({"type": "integer"}, "-5", -5),
        ({"type": "number"}, "1.5", 1.5),
        ({"type": "boolean"}, "Yes", True),
        ({"type": "boolean"}, "false", False),
        ({"type": ["integer", "null"]}, "null", None),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "7", 7),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x", "x"),
        ({"type": "array", "items": {"type": "integer"}}, "[1,2]", [1, 2]),
        ({"type": "array", "items": {"type": "integer"}}, "3", [3]),
        ({"type": "array", "items": {"type": "string"}}, "3", ["3"]),
        ({"type": "object"}, '{"a":1}', {"a": 1}),
        ({"enum": [1, "2"]}, "1", 1),
        ({"enum": [1, "2"]}, "2", "2"),
        ({}, "text", "text"),
        ({}, "[1]", [1]),
        ({"$ref": "#/$defs/n"}, "4", 4),
    ],
)
def test_a_value_gets_the_type_of_its_schema(part: dict[str, Any], text: str, value: Any) -> None:
    whole = schema(a=part) | {"$defs": {"n": {"type": "integer"}}}
    found = from_pairs([f"a={text}"], whole)
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_a_key_with_a_dot_is_a_path_unless_the_schema_has_it() -> None:
    assert from_pairs(["a.b=1", "a.c=x"], schema(a=schema(b={"type": "integer"}))) == {"a": {"b": 1, "c": "x"}}
    assert from_pairs(["a.b=1"], schema(**{"a.b": {"type": "integer"}})) == {"a.b": 1}


def test_an_object_that_may_be_left_out_has_types_and_problems_of_its_own() -> None:
    inner = schema(city={"type": "string"}, number={"type": "integer"}) | {"required": ["city"]}
    whole = schema(a={"anyOf": [{"$ref": "#/$defs/i"}, {"type": "null"}]}) | {"$defs": {"i": inner}}
    assert from_pairs(["a.city=1", "a.number=1"], whole) == {"a": {"city": "1", "number": 1}}
    assert problems_of({"a": {"city": "1"}}, whole) == []
    assert problems_of({"a": {"number": "x"}}, whole) == [
        'a.number: "x" is not a whole number.',
        "a.city: is missing (string).",
    ]


@pytest.mark.parametrize("pair", ["a=NaN", "a=Infinity", "a=" + "9" * 5000, "a=" + "[" * 100_000, "a=", "a=@/nowhere"])
def test_what_is_no_value_is_a_problem(pair: str) -> None:
    with pytest.raises(ArgumentProblems) as caught:
        from_pairs([pair], schema(a={"type": "integer"}))
    assert len(caught.value.problems) == 1
    assert len(caught.value.problems[0]) < 400


@pytest.mark.parametrize(
    "harmful",
    [
        {"$ref": "#/properties/a"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"anyOf": [{"$ref": "#/properties/a"}, {"$ref": "#/properties/a"}]},
        {"anyOf": [{"anyOf": [{"$ref": "#/properties/a"}] * 500}] * 500},
        {"type": "nothing that is a type"},
        {"type": 7},
        {"enum": 7},
        {"properties": [], "required": "a"},
        {"pattern": "("},
    ],
)
def test_a_schema_that_makes_no_sense_checks_nothing_and_harms_nobody(harmful: dict[str, Any]) -> None:
    whole = schema(a=harmful)
    found = from_pairs(["a=1"], whole)
    assert list(found) == ["a"]
    problems_of(found, whole)
    signature(whole)
    # The same check finds what is wrong where the schema makes sense.
    assert problems_of({"a": "x"}, schema(a={"type": "integer"})) == ['a: "x" is not a whole number.']


def test_what_a_terminal_obeys_is_spelled_out() -> None:
    assert visible("a\x1b[2Jb\r\n\tc\x9b\u202e\u2028\ud800\U000e0041\x7f") == (
        "a\\x1b[2Jb\n\tc\\x9b\\u202e\\u2028\\ud800\\U000e0041\\x7f"
    )
    assert visible("naïve 张伟 👩\u200d💻 עברית") == "naïve 张伟 👩\u200d💻 עברית"
    assert one_line("a\n  b\x07") == "a b\\x07"
    assert len(one_line("x" * 1000)) == 300
    assert gutter("a\nstar: b") == "│ a\n│ star: b"
    assert as_json({"k\x1b": "张\u202e\x9b"}, indent=None) == '{"k\\u001b": "张\\u202e\\u009b"}'


def test_names_of_files_are_ours() -> None:
    assert file_stem("../../etc/passwd") == "etc-passwd"
    assert file_stem(".bashrc") == "bashrc"
    assert file_stem("con") == "_con"
    assert file_stem("张") == "file"
    assert len(file_stem("x" * 1000)) == 60


def test_a_command_that_is_typed_wrong_is_told_the_nearest_one(tmp_path: Path) -> None:
    done = Shell(tmp_path).star("lgin")
    assert done.returncode == 2
    assert "Did you mean 'login'?" in done.stderr
    assert done.stdout == ""
