"""A member is put into JSON with comments, and every other character stays where it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpapp.client.json_edit import NotEditable, decoded, with_member

PATH = ("servers", "star")
ENTRY = {"url": "https://x"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "servers": {\n    "star": {\n      "url": "https://x"\n    }\n  }\n}\n'),
        ("{}", '{\n  "servers": {\n    "star": {\n      "url": "https://x"\n    }\n  }\n}'),
        ('{"a": 1}', '{"a": 1, "servers": {"star": {"url": "https://x"}}}'),
        (
            '{\n\t// mine\n\t"servers": {\n\t\t"other": {}, // kept\n\t\t"more": {} /* and this */\n\t},\n}\n',
            '{\n\t// mine\n\t"servers": {\n\t\t"other": {}, // kept\n\t\t"more": {}, /* and this */\n'
            '\t\t"star": {\n\t\t\t"url": "https://x"\n\t\t}\n\t},\n}\n',
        ),
        (
            '{\n    "servers": {\n        "other": {},\n    },\n}',
            '{\n    "servers": {\n        "other": {},\n        "star": {\n            "url": "https://x"\n        }\n'
            "    },\n}",
        ),
        (
            '{\r\n  "servers": {}\r\n}\r\n',
            '{\r\n  "servers": {\r\n    "star": {\r\n      "url": "https://x"\r\n    }\r\n  }\r\n}\r\n',
        ),
        (
            '{"servers": {"star": {"url": "https://old"}}} // end',
            '{"servers": {"star": {\n    "url": "https://x"\n  }}} // end'.replace("\n    ", "\n  ").replace(
                "\n  }", "\n}"
            ),
        ),
        ('\ufeff{\n  "servers": {\n    /* none yet */\n  }\n}', None),
    ],
)
def test_only_the_member_is_new(before: str, after: str | None) -> None:
    changed = with_member(before, PATH, ENTRY)
    if after is not None:
        assert changed == after
    assert decoded(changed)["servers"]["star"] == ENTRY
    for comment in ("// mine", "// kept", "/* and this */", "/* none yet */", "// end"):
        assert (comment in changed) == (comment in before)
    assert with_member(changed, PATH, ENTRY) == changed, "once more changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        "{",
        '{"a": 1,, "b": 2}',
        '{"a": 1 "b": 2}',
        '{"a" 1}',
        "{a: 1}",
        "{'a': 1}",
        '{"a": 01}',
        '{"a": "x\ny"}',
        "{} {}",
        "{} /* open",
        '{"servers": []}',
        '{"servers": "x"}',
        '{"servers": {}, "servers": {}}',
        '{"a": ' + "[" * 200 + "]" * 200 + "}",
        '{"a": "\\x"}',
        "{,}",
        '{"a": [1 2]}',
    ],
    ids=range(19),
)
def test_what_is_no_such_json_is_refused(text: str) -> None:
    with pytest.raises(NotEditable):
        with_member(text, PATH, ENTRY)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(st.text(max_size=5) | st.just("servers"), VALUES, max_size=4),
    st.sampled_from([None, 0, 1, 2, 4, "\t"]),
    st.text(max_size=5),
)
def test_any_json_in_any_layout_keeps_what_it_says(document: dict[str, Any], indent: Any, name: str) -> None:
    if not isinstance(document.get("servers", {}), dict):
        del document["servers"]
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    changed = with_member(text, ("servers", name), ENTRY)
    expected = {**document, "servers": {**document.get("servers", {}), name: ENTRY}}
    assert json.loads(changed) == expected
    assert with_member(changed, ("servers", name), ENTRY) == changed
