"""The `Cachemw` header: a table of what it says, and of what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache.directives import (
    UNRESTRICTED,
    Abandon,
    CacheControl,
    ControlMembers,
    Directives,
    InvalidControl,
    Mode,
    parse_members,
    read_directives,
)
from cachemw.cache.policy import CONTROLS, Policy
from cachemw.errors import ConfigurationError


def read(
    *fields: bytes, default: str = "off", honour: frozenset[str] = CONTROLS, control: bytes | None = None
) -> Directives | InvalidControl | None:
    """Read a request with these `Cachemw` lines."""
    headers = tuple((b"Cachemw", field) for field in fields)
    headers += () if control is None else ((b"Cache-Control", control),)
    return read_directives(headers, default, honour)


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        (b"on", Directives()),
        (b"on=?1", Directives()),
        (b"mode=read-write", Directives()),
        (b"mode=read", Directives(mode=Mode.READ)),
        (b"mode=refresh", Directives(mode=Mode.REFRESH)),
        (b"mode=replay", Directives(mode=Mode.REPLAY)),
        (b"ttl=3600", Directives(ttl=3600)),
        (b"ttl=0", Directives(ttl=0)),
        (b"ttl=999999999999999", Directives(ttl=999_999_999_999_999)),
        (b'namespace="evals"', Directives(namespace="evals")),
        (b"namespace=evals", Directives(namespace="evals")),
        (b'namespace=""', Directives(namespace="")),
        (b'namespace="' + b"n" * 128 + b'"', Directives(namespace="n" * 128)),
        (b'namespace="a, b; off=\\"?1"', Directives(namespace='a, b; off="?1')),
        (b"sample=0", Directives()),
        (b"sample=2", Directives(sample=2)),
        (b"speed=0", Directives()),
        (b"speed=-0.0", Directives()),
        (b"speed=1", Directives(speed=1.0)),
        (b"speed=2.5", Directives(speed=2.5)),
        (b"speed=0.001", Directives(speed=0.001)),
        (b"speed=999999999999.999", Directives(speed=999_999_999_999.999)),
        (b"abandon=finish", Directives(abandon=Abandon.FINISH)),
        (b"abandon=cancel", Directives(abandon=Abandon.CANCEL)),
        (b"partial", Directives(partial=True)),
        (b"partial=?1", Directives(partial=True)),
        (b"partial=?0", Directives()),
        (
            b'on, ttl=3600, sample=2, speed=1.5, namespace="evals", mode=refresh, abandon=cancel',
            Directives(Mode.REFRESH, ttl=3600, namespace="evals", sample=2, speed=1.5, abandon=Abandon.CANCEL),
        ),
        (b"  on ,\tttl=5  ", Directives(ttl=5)),
        (b"ttl=5, ttl=6", Directives(ttl=6)),  # RFC 9651 §4.2.2: the last of two equal names
        (b"ttl=x, ttl=6", Directives(ttl=6)),
        (b"on=?0, on", Directives()),
    ],
)
def test_every_member_is_read(field: bytes, asked: Directives) -> None:
    """E2: on means on."""
    assert read(field) == asked


BAD_VALUES = {
    "on": '1 true "?1"',
    "off": "0 ()",
    "mode": 'reed Read read_write "read" 1 (read)',
    "ttl": '-1 60.0 "60" forever @60 (60) ?1',
    "namespace": '5 :ZXZhbHM=: %"evals" (evals) ' + "n" * 129 + ' "' + "n" * 129 + '"',
    "sample": "-1 1.5 two",
    "speed": '?0 -1 -0.001 "1" fast @1 (1) :MQ==:',
    "abandon": '?0 Finish finished "cancel" (cancel) 0',
    "partial": '1 0 yes "on" (on) 1.0',
}
BAD_FIELDS = [
    *((f"{param}={value}", param) for param, values in BAD_VALUES.items() for value in values.split()),
    *((param, param) for param in "mode ttl namespace sample speed abandon".split()),  # `on` and `off` need no value
    *(("on; ttl=5", "on"), ("ttl=5; mode=read", "ttl"), ("mode=read; x", "mode"), ("off; x=1", "off")),
    *(("off, ttl=-1", "ttl"), ("ttl=5, ttl=-1", "ttl"), ("speed=1; abandon=cancel", "speed"), ("unknown, sample=x", "sample")),
]


@pytest.mark.parametrize(("field", "param"), BAD_FIELDS)
def test_a_known_member_with_a_bad_value_is_refused_by_its_name(field: str, param: str) -> None:
    """E7: a typo in a known control is an error, never a silently paid call."""
    refused = read(field.encode())

    assert isinstance(refused, InvalidControl)
    assert refused.param == param
    assert refused.message.startswith(param)


@pytest.mark.parametrize(
    "field",
    [
        *(b"ON", b"Mode=read", b"on,", b",on", b"on,,ttl=5", b"on ttl=5", b"on; ", b"ttl=", b"ttl =5", b"ttl= 5", b"=5"),
        *(b"ttl=1000000000000000", b"ttl=0x10", b"speed=1e3", b"speed=.5", b"speed=1.", b"speed=1.0001", b"on=?2", b"on=?"),
        *(b'namespace="evals', b"namespace='evals'", b'namespace="ev\xc3\xa4ls"'),
        *(b'"on"', b"5", b"(on)", b"on\x00", b"\xff", b"{}"),
    ],
)
def test_a_field_that_is_not_a_dictionary_is_refused(field: bytes) -> None:
    """E7: nothing is guessed, whatever the default says."""
    for default in ("off", "on", "on, mode=replay"):
        refused = read(field, default=default)

        assert isinstance(refused, InvalidControl)
        assert refused.param == "cachemw"


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ((b"on", b"ttl=5"), Directives(ttl=5)),
        ((b"ttl=5", b"sample=1, ttl=7"), Directives(ttl=7, sample=1)),
        ((b"on", b"off"), None),
    ],
)
def test_several_lines_are_one_dictionary(fields: tuple[bytes, ...], asked: Directives | None) -> None:
    assert read(*fields) == asked


def test_a_line_that_is_no_dictionary_spoils_them_all() -> None:
    assert isinstance(read(b"on", b""), InvalidControl)
    assert isinstance(read(b"on", b"mode=?"), InvalidControl)


def test_the_name_of_the_field_is_read_in_any_case() -> None:
    for name in (b"cachemw", b"Cachemw", b"CACHEMW"):
        assert read_directives(((name, b"ttl=5"),), "off", CONTROLS) == Directives(ttl=5)


@pytest.mark.parametrize(
    ("default", "fields", "asked"),
    [
        ("off", (), None),
        ("off", (b"",), None),
        ("off", (b"off",), None),
        ("off", (b"on=?0",), None),
        ("off", (b"on",), Directives()),
        ("off", (b"off=?0",), Directives()),
        ("off", (b"ttl=5",), Directives(ttl=5)),
        ("off", (b"sample=0",), Directives()),
        ("off", (b"mode=read",), Directives(mode=Mode.READ)),
        ("off", (b"namespace=a",), Directives(namespace="a")),
        ("off", (b"speed=0",), Directives()),
        ("off", (b"abandon=finish",), Directives(abandon=Abandon.FINISH)),
        ("", (), None),
        ("", (b"on",), Directives()),
        ("on", (), Directives()),
        ("on", (b"",), Directives()),
        ("on", (b"off",), None),
        ("on", (b"on=?0",), None),
        ("on", (b"ttl=5",), Directives(ttl=5)),
        ("ttl=60", (), Directives(ttl=60)),
        ("off, ttl=60", (), None),
        ("off, ttl=60", (b"on",), Directives(ttl=60)),
        ("off, ttl=60", (b"sample=1",), Directives(ttl=60, sample=1)),
        ("on, mode=replay", (), Directives(mode=Mode.REPLAY)),
        ("on, mode=replay", (b"on",), Directives(mode=Mode.REPLAY)),
        ("on, mode=replay", (b"off",), None),
        ("on, mode=replay", (b"mode=read-write",), Directives()),
        ("on, mode=replay, ttl=60", (b"ttl=5",), Directives(mode=Mode.REPLAY, ttl=5)),
        ("on, mode=replay, ttl=60", (b"mode=refresh, sample=1",), Directives(mode=Mode.REFRESH, ttl=60, sample=1)),
        ("on, namespace=a", (b'namespace=""',), Directives(namespace="")),
        ("on, sample=3", (b"sample=0",), Directives(sample=0)),
        ("on, speed=1", (), Directives(speed=1.0)),
        ("on, speed=1", (b"speed=0",), Directives()),
        ("on, abandon=finish", (b"abandon=cancel",), Directives(abandon=Abandon.CANCEL)),
    ],
)
def test_a_request_opts_in_by_itself_or_by_the_default(
    default: str, fields: tuple[bytes, ...], asked: Directives | None
) -> None:
    """E2: off means off, on means on; the members of a request override the default's one by one."""
    assert read(*fields, default=default) == asked


@pytest.mark.parametrize("off", [b"off", b"off=?1", b"on=?0", b"on, off", b"off, on", b"on=?0, off=?0"])
@pytest.mark.parametrize("also", [b"", b", mode=replay", b", ttl=5, sample=1", b", unknown"])
@pytest.mark.parametrize("default", ["off", "on", "on, mode=replay"])
def test_off_wins_over_all(off: bytes, also: bytes, default: str) -> None:
    """E2: off means off."""
    assert read(off + also, default=default) is None


@pytest.mark.parametrize(
    ("field", "ignored"),
    [
        (b"on, store=2", ("store",)),
        (b"on, speeds=2, abandoned=cancel", ("speeds", "abandoned")),
        (b"on, tll=5", ("tll",)),
        (b"on, b=1, a=(1 2);x, *c", ("b", "a", "*c")),
        (b"zeal=?0, ttl=5, yes; no", ("zeal", "yes")),
    ],
)
def test_unknown_members_are_ignored_and_reported(field: bytes, ignored: tuple[str, ...]) -> None:
    """E2: unknown directives are reported, not guessed."""
    asked = read(field)

    assert isinstance(asked, Directives)
    assert asked.ignored == ignored


def test_of_unknown_members_no_more_is_reported_than_16_of_16_characters() -> None:
    """E2: what anybody sent comes back in `Cache-Status`."""
    names = [f"x{number:02}{'y' * 37}" for number in range(20)]

    assert read(", ".join(["on", *names]).encode()) == Directives(ignored=tuple(name[:16] for name in names[:16]))


MEANT = {
    "replay": "mode=replay",
    "reply": "mode=replay",
    "Replay": "mode=replay",
    "refresh": "mode=refresh",
    "read-write": "mode=read-write",
    "replay, x": "mode=replay",
    "cancel": "abandon=cancel",
    "true": "on",
    "True": "on",
    "yes": "on",
    "onn": "on",
    "ON": "on",
    "1": "on",
    "?1": "on",
    '"on"': "on",
    "enabled=true": "on",
    "false": "off",
    "0": "off",
    "of": "off",
    "OFF": "off",
    "tll=5": "ttl",
    "TTL=5": "ttl=5",
    "ttl = 5": "ttl=5",
    "on, TTL=5": "ttl=5",
    "Mode=replay": "mode=replay",
    "speeds=2": "speed",
    "names-space=a": "namespace",
    "no-cache": "Cache-Control: no-cache",
}


@pytest.mark.parametrize("default", ["off", "on", "on, mode=replay"])
@pytest.mark.parametrize("field", [*MEANT, "x", "record", "zeal=?0, lazy; no", "{}", "5", "on ttl=5", "on,", "mode"])
def test_where_nothing_known_is_said_the_members_are_named_and_what_was_probably_meant(field: str, default: str) -> None:
    """F4: a misspelt wish is an error, never a silently paid call; whatever the default says."""
    refused = read(field.encode(), default=default)

    assert isinstance(refused, InvalidControl)
    assert "lcalpha" not in refused.message
    if field != "mode":
        assert refused.param == "cachemw"
        assert all(name in refused.message for name in CONTROLS - {"cache-control"})
    meant = MEANT.get(field)
    assert f"did you mean {meant}?" in refused.message if meant else "did you mean" not in refused.message


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("mode=record", "mode is one of read-write, read, refresh, replay, and not record"),
        ("mode", "mode is one of read-write, read, refresh, replay, and not without one"),
        ('mode="read"', "mode is one of read-write, read, refresh, replay, and not in quotes"),
        ("abandon=stop", "abandon is one of finish, cancel, and not stop"),
        ("ttl=-1", "ttl is a whole number of seconds, 0 or more, such as ttl=3600, and not -1"),
        ("ttl=1.5", "ttl is a whole number of seconds, 0 or more, such as ttl=3600, and not 1.5"),
        ("ttl=(1 2)", "ttl is a whole number of seconds, 0 or more, such as ttl=3600"),
        ("ttl=?0", "ttl is a whole number of seconds, 0 or more, such as ttl=3600, and not ?0"),
        ("on=yes", "on takes no value, or ?0 for no, and not yes"),
    ],
)
def test_a_bad_value_names_what_is_allowed(field: str, message: str) -> None:
    """F4: and what came, as far as it is a word, a number or a text."""
    refused = read(field.encode())

    assert isinstance(refused, InvalidControl)
    assert refused.message == message


@pytest.mark.parametrize(
    ("field", "at", "why"),
    [
        ("ttl=1h", "'ttl=1h'", "ttl is a whole number of seconds"),
        ("on, ttl=1h, mode=read", "'ttl=1h'", "ttl is a whole number of seconds"),
        ('namespace="a, b", speed=1e3', "'speed=1e3'", "speed is a number"),
        ("on ttl=5", "'on ttl=5'", "there are commas between members"),
        ('namespace="a secret', "'namespace='", "namespace is text"),
        ("on,,ttl=5", "a comma", "it is one too many"),
        (",on", "a comma", "it is one too many"),
        ("on, ", "a comma", "it is one too many"),
        ("\xe4\x00" + "b" * 90, "'\\xe4\\x00" + "b" * 14 + "'", "a member is a name, or a name, = and a value"),
    ],
)
def test_what_cannot_be_read_is_shown_and_said_in_plain_words(field: str, at: str, why: str) -> None:
    """F4: escaped, and no more than a line of it."""
    refused = read(field.encode("latin-1"))

    assert isinstance(refused, InvalidControl)
    assert f"cannot be read at {at}: {why}" in refused.message
    assert len(refused.message) < 400


@pytest.mark.parametrize("default", ["onn", "replay", "ON", "mode=record", "ttl=1h"])
def test_a_default_is_refused_in_the_same_words(default: str) -> None:
    """F4."""
    refused = read(default.encode())

    assert isinstance(refused, InvalidControl)
    with pytest.raises(ConfigurationError) as raised:
        Policy(default=default)
    assert str(raised.value) == f"Policy.default: {refused.message}"


def test_an_empty_field_says_nothing() -> None:
    """RFC 9651 §3.2: an empty dictionary is as good as none."""
    assert (read(b""), read(b"  ")) == (None, None)
    assert read(b"", default="on") == Directives()


@pytest.mark.parametrize(
    ("left_out", "field", "asked"),
    [
        ("mode", b"on, mode=replay, ttl=5", Directives(ttl=5, ignored=("mode",))),
        ("ttl", b"on, ttl=5", Directives(ignored=("ttl",))),
        ("namespace", b"on, x, namespace=a, sample=1", Directives(sample=1, ignored=("x", "namespace"))),
        ("sample", b"sample=1", Directives(ignored=("sample",))),
        ("speed", b"on, speed=1, sample=1", Directives(sample=1, ignored=("speed",))),
        ("abandon", b"on, abandon=finish, speed=1", Directives(speed=1.0, ignored=("abandon",))),
        ("partial", b"on, partial, ttl=5", Directives(ttl=5, ignored=("partial",))),
    ],
)
def test_a_member_the_operator_does_not_honour_is_reported(left_out: str, field: bytes, asked: Directives) -> None:
    """E2: neither obeyed nor passed over in silence."""
    assert read(field, honour=CONTROLS - {left_out}) == asked


def test_a_member_that_is_not_honoured_leaves_the_default_in_force() -> None:
    asked = read(b"mode=read-write", default="on, mode=replay", honour=CONTROLS - {"mode"})

    assert asked == Directives(mode=Mode.REPLAY, ignored=("mode",))


def test_a_member_that_is_not_honoured_is_still_refused_when_bad() -> None:
    assert isinstance(read(b"on, ttl=x", honour=CONTROLS - {"ttl"}), InvalidControl)


@pytest.mark.parametrize(
    ("default", "field", "asked"),
    [
        ("off", b"on", None),
        ("off", b"ttl=5", None),
        ("on", b"on", Directives()),
        ("on", b"ttl=5", Directives(ttl=5)),
        ("on", b"off", Directives(ignored=("off",))),
        ("on", b"on=?0, ttl=5, x", Directives(ttl=5, ignored=("x", "off"))),
    ],
)
def test_where_on_is_not_honoured_the_default_alone_decides(default: str, field: bytes, asked: Directives | None) -> None:
    """E2: an `off` that is not obeyed is told."""
    assert read(field, default=default, honour=CONTROLS - {"on"}) == asked


def test_cache_control_restricts_a_request_that_opted_in() -> None:
    asked = read(b"on", control=b"no-cache, max-age=5")

    assert asked == Directives(control=CacheControl(no_cache=True, max_age=5))


def test_several_lines_of_cache_control_add_up() -> None:
    headers = ((b"cachemw", b"on"), (b"cache-control", b"no-store"), (b"Cache-Control", b"max-age=5"))

    asked = read_directives(headers, "off", CONTROLS)

    assert asked == Directives(control=CacheControl(no_store=True, max_age=5))


def test_cache_control_opts_nobody_in() -> None:
    assert read(control=b"max-age=5") is None


def test_cache_control_that_is_not_honoured_is_reported() -> None:
    """E2."""
    asked = read(b"on, x", control=b"no-store", honour=CONTROLS - {"cache-control"})

    assert asked == Directives(control=UNRESTRICTED, ignored=("x", "cache-control"))
    assert read(b"on", honour=CONTROLS - {"cache-control"}) == Directives()


@pytest.mark.parametrize(
    ("asked", "wants_fresh_answer", "may_forward", "may_store"),
    [
        (Directives(), False, True, True),
        (Directives(mode=Mode.READ), False, True, False),
        (Directives(mode=Mode.REFRESH), True, True, True),
        (Directives(mode=Mode.REPLAY), False, False, True),
        (Directives(control=CacheControl(no_store=True)), False, True, False),
        (Directives(control=CacheControl(no_cache=True)), True, True, True),
        (Directives(control=CacheControl(only_if_cached=True)), False, False, True),
        (Directives(control=CacheControl(max_age=0, min_fresh=5, max_stale=5)), False, True, True),
        (Directives(mode=Mode.REFRESH, control=CacheControl(no_store=True)), True, True, False),
        (Directives(mode=Mode.REPLAY, control=CacheControl(no_cache=True)), True, False, True),
        (Directives(mode=Mode.READ, control=CacheControl(only_if_cached=True)), False, False, False),
    ],
)
def test_restrictions_add_up(asked: Directives, wants_fresh_answer: bool, may_forward: bool, may_store: bool) -> None:
    told = (asked.wants_fresh_answer, asked.may_forward, asked.may_store)

    assert told == (wants_fresh_answer, may_forward, may_store)


PIECES = [
    *b"on off mode ttl sample namespace speed abandon replay cancel a 5 - . = , ;".split(),
    *(b" ", b'"', b"\\", b"(", b")", b"?0", b"?1", b"@", b'%"', b"%ff", b":", b"*", b"\t", b"\x00", b"\xff", b"9" * 15),
]


@given(st.binary() | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_no_field_is_a_failure(field: bytes) -> None:
    """E7: whatever is sent is read or refused."""
    assert isinstance(parse_members(field), ControlMembers | InvalidControl)


@given(
    mode=st.sampled_from(Mode),
    ttl=st.integers(0, 10**15 - 1),
    namespace=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=128),
    sample=st.integers(0, 10**15 - 1),
    thousandths=st.integers(0, 10**15 - 1),
    abandon=st.sampled_from(Abandon),
    order=st.permutations(["mode", "ttl", "namespace", "sample", "speed", "abandon"]),
)
def test_what_can_be_said_is_read_as_it_was_said(
    mode: Mode, ttl: int, namespace: str, sample: int, thousandths: int, abandon: Abandon, order: list[str]
) -> None:
    speed = f"{thousandths // 1000}.{thousandths % 1000:03}"
    quoted = namespace.replace("\\", "\\\\").replace('"', '\\"')
    said: dict[str, Any] = {"mode": mode.value, "ttl": ttl, "namespace": f'"{quoted}"', "sample": sample}
    said |= {"speed": speed, "abandon": abandon.value}

    asked = read(", ".join(f"{name}={said[name]}" for name in order).encode())

    assert asked == Directives(mode, ttl, namespace, sample, float(speed), abandon)
