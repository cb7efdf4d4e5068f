"""The lines of TOML files."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.toml import TomlLines, TomlPath, toml_name

FILE = """\
# [not.a.table]
top = 1
[routes.auto] # ["nor is this"]
targets = [ # ]
  "a/b", "c#d", 'e]f',
  { name = "[g]" },
]
pick = "f = 2"

[ "targets" . 'mistral/m.x' ]
set = { a = \"\"\"
[no.table]
key = 1 \\\"\"\"\"\"\", b = 1 }
drop.x = 1
"prices" = {}
[[several]]
q = '''
[neither]''''
[[several]]
q = 2
[models]
"a=b" = "c"
'x.y' = 'z'
"\\u0061 b" = 1
"""

LINES: dict[TomlPath, int] = {
    ("top",): 2,
    ("routes",): 3,
    ("routes", "auto"): 3,
    ("routes", "auto", "targets"): 4,
    ("routes", "auto", "pick"): 8,
    ("routes", "auto", "pick", "below"): 8,
    ("routes", "auto", "there is none"): 3,
    ("targets", "mistral/m.x"): 10,
    ("targets", "mistral/m.x", "set"): 11,
    ("targets", "mistral/m.x", "set", "b"): 11,
    ("targets", "mistral/m.x", "drop"): 14,
    ("targets", "mistral/m.x", "drop", "x"): 14,
    ("targets", "mistral/m.x", "prices"): 15,
    ("several",): 16,
    ("several", "q"): 17,
    ("models",): 21,
    ("models", "a=b"): 22,
    ("models", "x.y"): 23,
    ("models", "a b"): 24,
    ("not",): 1,
    (): 1,
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("path", "line"), LINES.items(), ids=str)
def test_a_member_is_on_its_line_and_what_has_none_on_that_of_its_table(path: TomlPath, line: int, newline: str) -> None:
    text = FILE.replace("\n", newline)
    tomllib.loads(text)

    assert TomlLines(text).of(path) == line


KEYS = st.text("ab .=#[]{}\"'\\é", min_size=1, max_size=6)
VALUES = st.sampled_from(
    ["1", '"]"', "[1, [2]]", '["#", "[x]"]', '{ a = "}" }', "'''\n[x]\n'''", '"""\n\\"""\n"""', "[\n1, # ]\n2\n]"]
)


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4))
def test_every_member_of_a_file_is_found_where_it_was_written(tables: dict[str, dict[str, str]]) -> None:
    text, lines = "", dict[TomlPath, int]()
    for table, members in tables.items():
        lines[(table,)] = text.count("\n") + 1
        text += f"[ {quoted(table)} ]  # a comment\n"
        for name, value in members.items():
            lines[(table, name)] = text.count("\n") + 1
            text += f"{quoted(name)} = {value}\n"
    assert tomllib.loads(text).keys() == tables.keys()

    assert {path: TomlLines(text).of(path) for path in lines} == lines


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("true", "a boolean"),
        ("1", "an integer"),
        ("1.0", "a float"),
        ("'a'", "a string"),
        ("[]", "an array"),
        ("{}", "a table"),
        ("2027-01-01", "a date or a time"),
        ("07:00:00", "a date or a time"),
    ],
)
def test_values_are_called_what_toml_calls_them(text: str, name: str) -> None:
    assert toml_name(tomllib.loads(f"a = {text}")["a"]) == name
