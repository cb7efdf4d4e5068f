"""What is seen of our objects in a log line or a traceback: no header, no body, no credential."""

import dataclasses
import enum
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

import cachemw
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import Endpoint
from cachemw.messages import Head, HttpTarget, Kind, Request

SECRET = "sk-never-to-be-seen"
SAYS_NOTHING = (int, float, bool, type(None), enum.Enum)
"""Of a value of these types everything may be seen."""

SHOWN: dict[str, str] = {
    "cachemw.cli.finding.Finding": "state subject text advice",  # what is said of settings, which are named, and not shown
    "cachemw.cli.demo.Played": "rounds other_kind together",  # the demo's own questions, and the simulator's answers
    "cachemw.cli.demo.Point": "line claims",
    "cachemw.cli.demo.Promise": "sentence",
    "cachemw.cli.demo.Reply": "cache_status body",
    "cachemw.cli.demo.Round": "kind first again",
    "cachemw.cli.demo.Together": "replies",
    "cachemw.endpoints.base.Bypass": "detail",  # a word of ours
    "cachemw.cache.effects.DeleteRecord": "indexes",
    "cachemw.cache.effects.Lookup": "index",
    "cachemw.cache.header_rules.HeaderRules": "vary inert forward",  # the names of headers
    "cachemw.cache.policy.Policy": "default paths keep vary inert forward bookkeeping store_when done on_abandon honour"
    " translation count_tokens",
    "cachemw.endpoints.base.Endpoint": "name",
    # `Cache-Status` says the same; names of ours, of the operator and of models; digests
    "cachemw.report.ExchangeReport": "fwd key details abandoned id endpoint route cost_basis",
    "cachemw.cache.lookup.NoMatch": "fwd detail",
    "cachemw.cache.lookup.Match": "details",
    "cachemw.formats.Format": "metavar allowed parse toml show bounds",
    "cachemw.formats.KeyFormat": "metavar allowed parse toml show bounds",
    "cachemw.formats.ListFormat": "metavar allowed parse toml show bounds",
    "cachemw.proxy.settings.Setting": "name default form help_text flag",  # a row of the table, not what it is set to
    "cachemw.simulator.script.Begin": "headers",
    "cachemw.upstreams.providers.Provider": "base_url key_variables url_variable bookkeeping version store_when"
    " speaks key_field",
}
"""The fields of text or bytes that may be seen: the operator's own settings, words of ours, digests."""


def classes() -> Iterator[type]:
    """Yield every class of the package."""
    for module in pkgutil.walk_packages(cachemw.__path__, "cachemw."):
        if not module.name.endswith("__main__"):
            inside = vars(importlib.import_module(module.name)).values()
            yield from (found for found in inside if inspect.isclass(found) and found.__module__ == module.name)


def name_of(found: type) -> str:
    return f"{found.__module__}.{found.__qualname__}"


def is_value(found: type) -> bool:
    return issubclass(found, msgspec.Struct) or dataclasses.is_dataclass(found)


CLASSES = sorted(classes(), key=name_of)
VALUES = [found for found in CLASSES if is_value(found)]
OTHERS = [found for found in CLASSES if not is_value(found) and not issubclass(found, BaseException | enum.Enum)]


def fields_of(found: Any) -> dict[str, Any]:
    """Return the fields of a value's class, with their types."""
    names = found.__struct_fields__ if issubclass(found, msgspec.Struct) else found.__dataclass_fields__
    types = get_type_hints(found)
    return {name: types[name] for name in names}


def full_of_secrets(found: Any) -> Any:
    """Return such a value with a secret in every field that can hold text, whatever its constructor would say to it."""
    shown = SHOWN.get(name_of(found), "").split()
    made = {
        name: known if (known := _harmless(kind)) is not None or name in shown else secret_of(kind)
        for name, kind in fields_of(found).items()
    }
    if issubclass(found, msgspec.Struct):
        return found(**made)
    value = object.__new__(found)
    for name, member in made.items():
        object.__setattr__(value, name, member)
    return value


def _harmless(kind: Any) -> Any:
    """Return a value of a type that cannot hold text; `None` where the type can."""
    leaves = list(_leaves(kind))
    if not all(issubclass(leaf, SAYS_NOTHING) for leaf in leaves):
        return None
    return next(_one_of(leaf) for leaf in leaves if leaf is not type(None))


def _one_of(leaf: Any) -> Any:
    return next(iter(leaf)) if issubclass(leaf, enum.Enum) else leaf(1)


def _leaves(kind: Any) -> Iterator[type]:
    """Yield the classes a type consists of; what is none, as a literal, may be anything."""
    if args := [arg for arg in get_args(kind) if arg is not ...]:
        for arg in args:
            yield from _leaves(arg)
    else:
        yield kind if inspect.isclass(kind) else object


def secret_of(kind: Any) -> Any:
    """Return a secret as this type holds it; a value of ours is full of them itself."""
    leaves = list(_leaves(kind))
    if Endpoint in leaves:
        return CHAT
    inner = next((leaf for leaf in leaves if leaf in CLASSES and not issubclass(leaf, enum.Enum)), None)
    if inner is not None and not issubclass(inner, BaseException):
        return full_of_secrets(inner) if is_value(inner) else object.__new__(inner)
    return SECRET.encode() if bytes in leaves else ((SECRET.encode(), SECRET), {SECRET: SECRET})


@pytest.mark.parametrize("found", VALUES, ids=name_of)
def test_no_value_shows_what_it_holds(found: type) -> None:
    """F64, I4: a new class cannot be forgotten; a field that may be seen stands in the table."""
    value = full_of_secrets(found)

    assert SECRET not in repr(value)
    assert SECRET not in str(value)
    assert SECRET not in f"{value}"


@pytest.mark.parametrize("found", OTHERS, ids=name_of)
def test_what_is_no_value_shows_its_name_alone(found: type) -> None:
    """I4: stores, drivers, mounts, upstreams, transfers."""
    assert found.__repr__ is object.__repr__  # type: ignore[comparison-overlap]
    assert found.__str__ is object.__str__  # type: ignore[comparison-overlap]


def test_the_tables_name_what_there_is() -> None:
    known = {name_of(found): fields_of(found) for found in VALUES}

    assert len(VALUES) > 60
    assert len(OTHERS) > 60
    for name, fields in SHOWN.items():
        assert set(fields.split()) <= known[name].keys(), name


def test_a_value_shows_sizes_numbers_and_the_values_in_it() -> None:
    request = Request("POST", "/v1", ((b"authorization", SECRET.encode()),), b"{}", HttpTarget("https://api.example"))

    assert repr(request) == (
        "Request(method=<4 characters>, path=<3 characters>, headers=<1 items>, body=<2 bytes>,"
        " target=HttpTarget(url=<19 characters>, recipient=HttpRecipient(provider=None, bookkeeping=<0 items>,"
        ' sends=<Sends.CALLERS: "the caller\'s, if there is one">, fields=<0 items>,'
        " closing=Closing(store_when=<0 items>, done=True), speaks=<3 items>)),"
        " attested=Attested(credentials=<0 items>, session=<0 bytes>, is_nameless=False),"
        " caller=Caller(brought=<0 items>, attested=<0 items>, name=None),"
        " context=<0 items>)"
    )
    assert repr(Head(200, ())) == "Head(status=200, headers=<0 items>, delimited=True)"
    assert repr(Kind(stream=False)) == "Kind(stream=False, options=<2 bytes>)"
