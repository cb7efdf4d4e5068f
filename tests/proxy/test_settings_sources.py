"""The one table of settings, and where each is read: an option, a variable, or the file's `[serve]`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cachemw import ConfigurationError
from cachemw.errors import InvalidSetting
from cachemw.formats import KEEP
from cachemw.proxy import Settings
from cachemw.proxy.settings import SETTINGS, OptionValue, Setting, refuse_unknown_variables

IN_FILE = {name: setting for name, setting in SETTINGS.items() if name != "client_keys"}


def others(setting: Setting) -> tuple[Any, Any, Any]:
    """Return values for the file, the environment and the option: each another, and none the default, unless there are two."""
    match setting.default:
        case bool(default):
            return not default, default, not default
        case int() | float():
            return setting.default + 1, setting.default + 2, setting.default + 3
        case tuple():
            return ("a",), ("a", "b"), ("c",)
    if setting.form is KEEP:
        return 1.0, 7_200.0, 90.0
    if not setting.form.metavar.islower():
        return "this", "that", "another"
    words = [word for word in setting.form.metavar.split("|") if word != setting.default]
    return (words[0], words[1], words[2]) if len(words) > 2 else (words[0], setting.default, words[0])


def as_toml(value: Any) -> str:
    return json.dumps(value)  # of booleans, numbers, strings and lists of strings both write the same


def as_option(setting: Setting, value: Any) -> OptionValue:
    return value if isinstance(value, bool | tuple) else setting.form.show(value)


@dataclass(frozen=True, slots=True)
class Given:
    """What one setting is given in each source, `None` where it is not."""

    file: Any
    variable: Any
    option: Any

    def read(self, setting: Setting, directory: Path) -> Settings:
        """Read the settings from these sources."""
        path = directory / "cachemw.toml"
        path.write_text("[serve]\n" + ("" if self.file is None else f"{setting.name} = {as_toml(self.file)}\n"))
        variables = {} if self.variable is None else {setting.variable: setting.form.show(self.variable)}
        options = {} if self.option is None else {setting.name: as_option(setting, self.option)}
        return Settings.read(options, variables, str(path))


PRESENT = [
    (in_file, in_variable, as_an_option)
    for in_file in (False, True)
    for in_variable in (False, True)
    for as_an_option in (False, True)
]


@pytest.mark.parametrize("present", PRESENT, ids=str)
@pytest.mark.parametrize("setting", IN_FILE.values(), ids=IN_FILE)
def test_an_option_goes_before_the_environment_and_that_before_the_file(
    setting: Setting, present: tuple[bool, bool, bool], tmp_path: Path
) -> None:
    """E7: every row of the table, in every combination of its sources."""
    given = [value if is_there else None for value, is_there in zip(others(setting), present, strict=True)]

    settings = Given(*given).read(setting, tmp_path)

    expected = next((value for value in reversed(given) if value is not None), setting.default)
    assert settings == Settings(**{setting.name: expected})


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_every_setting_reaches_the_workers(setting: Setting) -> None:
    """E5: and the file does not concern them any more."""
    settings = Settings(**{setting.name: others(setting)[0]})

    environment = settings.to_environment()

    assert Settings.from_environment({"CACHEMW_CONFIG": "/gone/cachemw.toml", **environment}) == settings
    assert environment[f"CACHEMW_{setting.name.upper()}"] != Settings().to_environment()[setting.variable]


def test_the_file_may_be_named_by_the_environment_and_the_option_wins(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_text(f'[serve]\nupstream = "{name}"\n')
    environment = {"CACHEMW_CONFIG": str(tmp_path / "one")}

    assert Settings.from_environment(environment).upstream == "one"
    assert Settings.read({}, environment, str(tmp_path / "other")).upstream == "other"


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[serve]\n"])
def test_a_file_that_says_nothing_leaves_the_defaults(text: str, tmp_path: Path) -> None:
    assert read_file(text, tmp_path) == Settings()


def read_file(text: str | bytes, directory: Path) -> Settings:
    path = directory / "cachemw.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Settings.read({}, {}, str(path))


REFUSED: Mapping[str | bytes, str] = {
    "[provider.cerebras]\n": "unknown in FILE: 'provider' (is it providers?); there may be [serve], [providers], [targets], ",
    "port = 1\n[router]\n": "unknown in FILE: 'port', 'router' (is it routes?); there may be [serve], ",
    "serve = 1": "serve in FILE is a table, [serve], not an integer",
    "[[serve]]\nport = 1\n": "serve in FILE is a table, [serve], not an array",
    "[serve]\nlive_time = 1\n": "unknown in [serve]: 'live_time' (is it lifetime?)",
    "[serve]\nlive_time = 1\nx = 1\n": "unknown in [serve]: 'live_time' (is it lifetime?), 'x'; there may be host, port, ",
    '[serve]\n"a\\nb" = 1\n': "unknown in [serve]: 'a\\nb'; there may be",
    "[serve.port]\n": "port in [serve]: a table is not a whole number from 0 to 65535",
    '[serve]\nport = "80"\n': "port in [serve]: a string is not a whole number from 0 to 65535",
    "[serve]\nport = 8080.0\n": "port in [serve]: a float is not a whole number",
    "[serve]\nport = true\n": "port in [serve]: a boolean is not a whole number",
    "[serve]\nport = 65536\n": "port in [serve]: '65536' is not a whole number from 0 to 65535",
    "[serve]\nworkers = 0\n": "workers in [serve]: '0' is not a whole number, 1 at least",
    "[serve]\ninsecure = 1\n": "insecure in [serve]: an integer is not true or false",
    '[serve]\ninsecure = "yes"\n': "insecure in [serve]: a string is not true or false",
    "[serve]\nupstream = 1\n": "upstream in [serve]: an integer is not a string",
    "[serve]\nlifetime = 1979-05-27\n": "lifetime in [serve]: a date or a time is not a number of seconds",
    "[serve]\nlifetime = nan\n": "lifetime in [serve]: 'nan' is not a number of seconds, 0 at least",
    '[serve]\nlifetime = "1w"\n': "lifetime in [serve]: '1w' is not a number of seconds, 0 at least, also as in 90s, 15m",
    "[serve]\nmax_body = 1.5\n": "max_body in [serve]: a float is not a number of bytes",
    '[serve]\nmax_body = "64M"\n': "max_body in [serve]: '64M' is not a number of bytes, 0 at least, also as in 64MB or",
    '[serve]\nlog_level = "trace"\n': "log_level in [serve]: 'trace' is not one of critical, error, warning, info, debug",
    '[serve]\nlend = "files"\n': "lend in [serve]: a string is not a list of strings",
    '[serve]\nlend = ["files", 1]\n': "lend in [serve]: an array with an integer in it is not a list of strings",
    "[serve]\nport = 1\nport = 2\n": "FILE is not TOML: Cannot overwrite a value (at line 3, column 9)",
    "[serve": "FILE is not TOML: ",
    "[serve]\nport = " + "[" * 100_000: "FILE is not TOML: ",
    f"[serve]\nport = {'9' * 5_000}\n": "FILE is not TOML: Exceeds the limit",
    b"[serve]\nhost = '\xff'\n": "FILE is not UTF-8",
}


@pytest.mark.parametrize(("text", "told"), REFUSED.items(), ids=[ascii(text)[:40] for text in REFUSED])
def test_what_is_wrong_in_a_file_is_named_with_its_place_and_what_is_allowed(
    text: str | bytes, told: str, tmp_path: Path
) -> None:
    """E7."""
    path = str(tmp_path / "cachemw.toml")

    with pytest.raises(ConfigurationError) as refused:
        read_file(text, tmp_path)

    assert str(refused.value).replace(f" of {path}", "").replace(path, "FILE").startswith(told)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"^cannot read {tmp_path}: Is a directory$"):
        Settings.read({}, {}, str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        'client_keys = ["sk-of-alice"]',
        'client_keys = "sk-of-alice"',
        '[serve.client_keys]\nalice = "sk-of-alice"',
        'api_key = "sk-of-alice"',
        'upstream = ["sk-of-alice"]',
        'upstream = "sk-of-alice',
        "upstream = sk-of-alice",
        'upstream = "\\sk-of-alice"',
        'lend = [["sk-of-alice"]]',
    ],
)
def test_no_key_stands_in_a_file_and_none_is_shown(text: str, tmp_path: Path) -> None:
    """I4."""
    with pytest.raises(ConfigurationError) as refused:
        read_file(f"[serve]\n{text}\n", tmp_path)

    assert "alice" not in str(refused.value)


def test_what_a_source_says_is_checked_though_another_goes_before_it(tmp_path: Path) -> None:
    """E7: a mistake does not wait for the day that the option is left out."""
    (tmp_path / "cachemw.toml").write_text("[serve]\nport = true\n")

    with pytest.raises(InvalidSetting):
        Settings.read({"port": "1"}, {}, str(tmp_path / "cachemw.toml"))
    with pytest.raises(InvalidSetting, match=r"^CACHEMW_PORT: 'high' is not"):
        Settings.read({"port": "1"}, {"CACHEMW_PORT": "high"})
    with pytest.raises(InvalidSetting, match=r"^--port: 'high' is not"):
        Settings.read({"port": "high"}, {})


def test_variables_that_somebody_reads_are_known() -> None:
    read = {"CACHEMW_CONFIG", "CACHEMW_SECRET", "CACHEMW_UPSTREAM_API_KEY", *Settings().to_environment()}

    refuse_unknown_variables(dict.fromkeys([*read, "PATH", "CACHEMWISH", "MY_CACHEMW_PORT"], "x"))


def test_variables_that_nobody_reads_are_refused_with_what_was_probably_meant() -> None:
    """E7, I4: and what they hold is not shown."""
    with pytest.raises(ConfigurationError) as refused:
        refuse_unknown_variables(
            dict.fromkeys(["CACHEMW_PORT", "CACHEMW_CLIENT_KEY", "CACHEMW_", "CACHEMW_LONG"], "sk-of-alice")
        )

    named = "unknown in the environment: CACHEMW_, CACHEMW_CLIENT_KEY (is it CACHEMW_CLIENT_KEYS?), CACHEMW_LONG"
    assert str(refused.value) == named
