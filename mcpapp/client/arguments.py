"""What a person types as `key=value`, made into the arguments of a tool, and checked against the tool's JSON schema.

The schema is the server's: nothing in it is fetched, and one that does not end or makes no sense checks nothing.
"""

from __future__ import annotations

import base64
import difflib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mcpapp.client.visible import one_line

Schema = dict[str, Any]

_TRUE = {"true", "yes", "on"}
_FALSE = {"false", "no", "off"}
_TYPES = {"string", "integer", "number", "boolean", "array", "object", "null"}
_SAYS_NOTHING_OF_NOTHING = {"$schema", "$defs", "additionalProperties", "description", "properties", "title", "type"}
_MAX_REFERENCES = 20
_MAX_ALTERNATIVES = 100
# Checking takes longer the larger a schema is, and one of this size is nobody's who means well.
_MAX_SCHEMA_CHARACTERS = 200_000
_NO_VALUE: Any = object()


class ArgumentProblems(ValueError):
    """The arguments cannot be sent; `problems` says why, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def from_pairs(pairs: Iterable[str], schema: Schema) -> dict[str, Any]:
    """Return the arguments that `key=value` words mean, by the types of `schema`.

    `a.b=1` is the key `b` in the object `a`, unless the schema has a property of that very name. A key of a list may
    be given several times. `key=@file` takes the value from a file, and `key=@@text` begins with one `@`.

    Raises: ArgumentProblems.
    """
    arguments: dict[str, Any] = {}
    problems: list[str] = []
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            problems.append(f"{one_line(pair)}: write it as key=value.")
            continue
        try:
            path = [key] if key in properties_of(schema) else key.split(".")
            _put(arguments, path, text, schema)
        except (ValueError, OSError) as error:
            problems.append(f"{one_line(key)}: {one_line(str(error))}")
    if problems:
        raise ArgumentProblems(problems)
    return arguments


def server_and_rest(words: list[str]) -> tuple[str | None, list[str]]:
    """Return the URL of the server, if the first of these words is one, and the words that follow."""
    if words and "://" in words[0].partition("=")[0]:
        return words[0], words[1:]
    return None, words


def from_json(text: str) -> dict[str, Any]:
    """Return the arguments of a JSON object.

    Raises: ArgumentProblems.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ArgumentProblems([f"This is no JSON: {one_line(str(error))}."]) from error
    if not isinstance(value, dict):
        raise ArgumentProblems(['The arguments are a JSON object, like {"key": "value"}.'])
    return value


def convert(text: str, schema: Schema, root: Schema | None = None) -> Any:
    """Return the value that a typed `text` means for a property of this schema.

    Raises: ValueError, with a sentence for the person.
    """
    root = schema if root is None else root
    known = _types(schema, root)
    for choice in choices_of(schema, root):
        if text == choice or (not isinstance(choice, str) and _json_or_none(text) == choice):
            return choice
    if not known:
        value = _json_or_none(text)
        return text if value is _NO_VALUE else value
    if "boolean" in known and text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    value = _json_or_none(text)
    if value is not _NO_VALUE and not isinstance(value, str) and _type_of(value) & known:
        return value
    if "string" in known:
        return text
    if "array" in known and not text.lstrip().startswith("["):
        return [convert(text, _items(schema, root), root)]
    raise ValueError(f"{text!r} is not {_named(known)}.")


def problems_of(arguments: dict[str, Any], schema: Schema) -> list[str]:
    """Return what is wrong with the arguments by the schema, one sentence each; nothing where it cannot be checked."""
    if not _is_text(arguments):
        return ["There are bytes in it that are no text in UTF-8."]
    if not arguments and schema.keys() <= _SAYS_NOTHING_OF_NOTHING:
        return []
    # Takes a while to import.
    import jsonschema  # type: ignore[import-untyped]
    import referencing
    import referencing.exceptions

    try:
        if len(json.dumps(schema)) > _MAX_SCHEMA_CHARACTERS:
            return []
        validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        validator.check_schema(schema)
        # With a registry of its own it fetches nothing that a schema refers to.
        checker = validator(schema, registry=referencing.Registry())
        found = sorted(checker.iter_errors(arguments), key=lambda error: [str(part) for part in error.absolute_path])
        return list(dict.fromkeys(line for error in found for line in _said(error)))
    except (jsonschema.SchemaError, referencing.exceptions.Unresolvable, RecursionError, ValueError, TypeError):
        # The server checks what it gets in any case.
        return []


def unknown_of(arguments: dict[str, Any], schema: Schema) -> list[str]:
    """Return a sentence for each argument that the schema lets pass and says nothing of: probably a slip."""
    known = list(properties_of(schema))
    if "additionalProperties" in schema or "patternProperties" in schema or "$ref" in schema or "allOf" in schema:
        return []
    return [_unknown("", name, known) for name in arguments if name not in known]


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the name that was probably meant, or nothing."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)), "")


def properties_of(schema: Schema) -> dict[str, Any]:
    """Return the schemas of the properties of an object."""
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def signature(schema: Schema) -> list[tuple[str, str, bool]]:
    """Return name, type and whether it is required, of each argument of a tool."""
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    return [
        (name, " or ".join(sorted(_types(part, schema) - {"null"})) or "any", name in needed)
        for name, part in properties_of(schema).items()
    ]


def choices_of(schema: Schema, root: Schema | None = None) -> list[Any]:
    """Return the values of an enumeration, in each way that a schema can write one."""
    schema = _resolved(schema, schema if root is None else root)
    if isinstance(schema.get("enum"), list):
        return list(schema["enum"])
    if "const" in schema:
        return [schema["const"]]
    for word in ("oneOf", "anyOf"):
        parts = schema.get(word)
        if isinstance(parts, list) and parts and all(isinstance(part, dict) and "const" in part for part in parts):
            return [part["const"] for part in parts]
    return []


def _put(arguments: dict[str, Any], path: list[str], text: str, root: Schema) -> None:
    schema, place = root, arguments
    for step in path[:-1]:
        schema = _property(schema, step, root)
        inner = place.setdefault(step, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{step} has a value already, so that nothing can be put into it.")
        place = inner
    name = path[-1]
    schema = _property(schema, name, root)
    value = _value(text, schema, root)
    if name not in place:
        place[name] = value
    elif isinstance(place[name], list) and isinstance(value, list):
        place[name] += value
    else:
        raise ValueError("it is given twice.")


def _value(text: str, schema: Schema, root: Schema) -> Any:
    if text.startswith("@@"):
        return convert(text[1:], schema, root)
    if not text.startswith("@") or text == "@":
        return convert(text, schema, root)
    content = Path(text[1:]).expanduser().read_bytes()
    if _resolved(schema, root).get("contentEncoding") == "base64":
        return base64.b64encode(content).decode()
    try:
        read = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{text[1:]} is no text in UTF-8.") from error
    return read if "string" in _types(schema, root) else convert(read.strip(), schema, root)


def _property(schema: Schema, name: str, root: Schema) -> Schema:
    for part in _alternatives(schema, root):
        found = properties_of(part).get(name)
        if isinstance(found, dict):
            return found
    return {}


def _items(schema: Schema, root: Schema) -> Schema:
    for part in _alternatives(schema, root):
        items = part.get("items")
        if isinstance(items, dict):
            return items
    return {}


def _resolved(schema: Schema, root: Schema) -> Schema:
    """Follow `$ref` within the schema; one that leads elsewhere or in a circle says nothing."""
    for _ in range(_MAX_REFERENCES):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        found: Any = root
        for step in reference.removeprefix("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, dict) and key else found
        if not reference.startswith("#") or not isinstance(found, dict):
            return {}
        schema = found
    return {}


def _alternatives(schema: Schema, root: Schema) -> list[Schema]:
    """Return a schema and all that it may be instead; each once, also where they lead to each other in circles."""
    found: list[Schema] = []
    waiting = [schema]
    while waiting and len(found) < _MAX_ALTERNATIVES:
        part = _resolved(waiting.pop(0), root)
        if not any(part is other for other in found):
            found.append(part)
            waiting += [inner for word in ("anyOf", "oneOf") for inner in _dictionaries(part.get(word))]
    return found


def _dictionaries(value: Any) -> list[Schema]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _types(schema: Any, root: Schema) -> set[str]:
    known: set[str] = set()
    for part in _alternatives(schema, root) if isinstance(schema, dict) else []:
        named = part.get("type")
        names = named if isinstance(named, list) else [named]
        known |= {name for name in names if isinstance(name, str) and name in _TYPES}
        values = part.get("enum") if isinstance(part.get("enum"), list) else []
        for value in [part["const"]] if "const" in part else values or []:
            known |= _type_of(value) - ({"number"} if isinstance(value, int) else set())
    return known


def _type_of(value: Any) -> set[str]:
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    if isinstance(value, float):
        return {"number", "integer"} if value.is_integer() else {"number"}
    names: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return {names.get(type(value), "null")}


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return _NO_VALUE


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _is_text(arguments: dict[str, Any]) -> bool:
    try:
        json.dumps(arguments, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(known: set[str]) -> str:
    words = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "array": "a JSON list, like [1, 2]",
        "object": 'a JSON object, like {"a": 1}',
        "null": "null",
    }
    return " or ".join(words.get(name, name) for name in sorted(known - ({"null"} if len(known) > 1 else set())))


def _said(error: Any) -> list[str]:
    """Return what a validation error means for the person."""
    where = ".".join(one_line(str(part)) for part in error.absolute_path)
    prefix = f"{where}." if where else ""
    value, schema = error.instance, error.schema
    if error.validator in ("anyOf", "oneOf") and (meant := _errors_of_the_one_meant(error)):
        return [line for inner in meant for line in _said(inner)]
    if error.validator == "required" and isinstance(value, dict):
        parts = properties_of(schema)
        return [
            f"{one_line(prefix + str(n))}: is missing{_hint(parts.get(n))}."
            for n in error.validator_value
            if n not in value
        ]
    if error.validator == "additionalProperties" and error.validator_value is False and isinstance(value, dict):
        known = list(properties_of(schema))
        return [_unknown(prefix, name, known) for name in value if name not in known]
    place = f"{where}: " if where else ""
    if error.validator == "type":
        named = error.validator_value
        wanted = _named({named} if isinstance(named, str) else set(named))
        return [f"{place}{_short(value)} is not {wanted.replace('string', 'a text')}."]
    if error.validator == "enum":
        return [f"{place}{_short(value)} is none of {', '.join(_short(one) for one in error.validator_value)}."]
    return [f"{place}{one_line(error.message)}."]


def _errors_of_the_one_meant(error: Any) -> list[Any]:
    """Return what is wrong by the only alternative that is of the value's type at all; nothing if that is not clear."""
    by_alternative: dict[Any, list[Any]] = {}
    for inner in error.context:
        by_alternative.setdefault(inner.schema_path[0], []).append(inner)
    possible = [
        errors
        for errors in by_alternative.values()
        if not any(inner.validator == "type" and not inner.path for inner in errors)
    ]
    return possible[0] if len(possible) == 1 else []


def _unknown(prefix: str, name: str, known: list[str]) -> str:
    meant = nearest(name, known)
    help_ = (
        f" Did you mean {one_line(meant)}?" if meant else f" It takes {', '.join(map(one_line, known)) or 'nothing'}."
    )
    return f"{one_line(prefix + name)}: the tool names no such argument.{help_}"


def _hint(schema: Any) -> str:
    if not isinstance(schema, dict):
        return ""
    words = [
        str(schema.get("type", "")) if isinstance(schema.get("type"), str) else "",
        str(schema.get("description", "")),
    ]
    said = ": ".join(one_line(word, 80).rstrip(".") for word in words if word)
    return f" ({said})" if said else ""


def _short(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return one_line(json.dumps(value, ensure_ascii=False), 60)
