"""The tables of the documentation that are made of the code's: `python -m tests.documented` prints them."""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping

from cachemw import Policy
from cachemw.cache.context import ENVIRON, ENVIRON_PREFIXES, EXTENSIONS, SCOPE, Member
from cachemw.cache.header_rules import OTHERS, ROWS, Counts, FieldRow
from cachemw.endpoints import ENDPOINTS
from cachemw.endpoints.errors import ANTHROPIC
from cachemw.gateway.failure_kinds import TREATMENTS, Cools, FailureKind, SameAgain, ScopeKind, Treatment
from cachemw.messages import DIALECTS
from cachemw.metrics.table import METRICS
from cachemw.proxy.settings import SETTINGS
from cachemw.translation import translation_for
from cachemw.upstreams.providers import PROVIDERS
from tests import house
from tests.translation.chat_member_rows import CHAT_ROWS
from tests.translation.member_rows import member_table
from tests.translation.messages_member_rows import MESSAGES_ROWS


def quoted(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def header_fields() -> Iterator[str]:
    """What becomes of every header field."""
    yield "| header field | around an app | in a transport | for an HTTP upstream | why |"
    yield "|---|---|---|---|---|"
    for row in (*ROWS, OTHERS):
        names = "all others" if row is OTHERS else quoted(row.names.split())
        yield f"| {names} | {row.app.value} | {row.transport.value} | {_over_http(row)} | {row.why} |"


def _over_http(row: FieldRow) -> str:
    fate = row.http
    said = fate.travels.value if fate.counts is Counts.INERT else f"{fate.counts.value}, {fate.travels.value}"
    return said if row.provider is None else f"{said}, to `{row.provider}` and to URLs"


def members(title: str, table: Mapping[str, Member], more: Mapping[str, Member] | None = None) -> Iterator[str]:
    """What the members of a scope, or of an environ, count for; those with one meaning stand together."""
    yield f"| {title} | | why |"
    yield "|---|---|---|"
    together: dict[Member, list[str]] = {}
    for name, member in [*table.items(), *((f"{name}*", member) for name, member in (more or {}).items())]:
        together.setdefault(member, []).append(name)
    for member, names in together.items():
        yield f"| {quoted(names)} | {member.counts.value} | {member.why} |"
    why = "most are a tracer's; `Policy.partition` is given them all (`request.context`)"
    yield f"| all others | {Counts.INERT.value} | {why} |"


def bookkeeping() -> Iterator[str]:
    """Which members of a body a provider only counts by."""
    yield "| upstream | not in the key |"
    yield "|---|---|"
    for name, provider in PROVIDERS.items():
        yield f"| `{name}` | {quoted(sorted(provider.bookkeeping)) or 'nothing'} |"
    yield "| a URL | what `--bookkeeping`, or `Policy.bookkeeping`, names |"


def providers() -> Iterator[str]:
    """Where providers are, and the variables that say so and hold their keys."""
    yield "| provider | speaks | base URL | key | another URL |"
    yield "|---|---|---|---|---|"
    for name, provider in PROVIDERS.items():
        keys = " or ".join(f"`{variable}`" for variable in provider.key_variables)
        yield f"| `{name}` | {_spoken(provider.speaks)} | `{provider.base_url}` | {keys} | `{provider.url_variable}` |"


def _spoken(speaks: frozenset[str]) -> str:
    return " ".join(f"`{name}`" for name in DIALECTS if name in speaks)


def spoken() -> Iterator[str]:
    """How calls of chat, messages and responses reach each provider."""
    yield f"| upstream | {' | '.join(DIALECTS)} |"
    yield f"|---|{'---|' * len(DIALECTS)}"
    for name, provider in PROVIDERS.items():
        yield f"| `{name}` | {' | '.join(_reached(dialect, provider.speaks) for dialect in DIALECTS)} |"
    itself = " | ".join(_reached(dialect, frozenset(DIALECTS)) for dialect in DIALECTS)
    yield f"| a URL, unless `--speaks` says else | {itself} |"


def _reached(dialect: str, speaks: frozenset[str]) -> str:
    if dialect in speaks:
        return "itself"
    translation = translation_for(dialect, speaks)
    return "not at all" if translation is None else f"translated to {translation.spoken}"


def endpoints() -> Iterator[str]:
    """The endpoints whose answers are cached."""
    yield "| endpoint | `POST` to what ends in | streams | errors in the shape of |"
    yield "|---|---|---|---|"
    for endpoint in ENDPOINTS:
        streams = "no" if endpoint.ends is None else "yes"
        shape = "Anthropic" if endpoint.errors is ANTHROPIC else "OpenAI"
        yield f"| `{endpoint.name}` | {quoted(endpoint.paths)} | {streams} | {shape} |"


def settings() -> Iterator[str]:
    """The settings of `cachemw serve`."""
    yield "| setting | option | default | |"
    yield "|---|---|---|---|"
    for setting in SETTINGS.values():
        default = f"`{shown}`" if (shown := setting.shown_default) else ""
        yield f"| `{setting.name}` | `{setting.option}` | {default} | {setting.help_text} |"


def policy() -> Iterator[str]:
    """The fields of `Policy`, as its docstring tells them."""
    yield "| field | default | |"
    yield "|---|---|---|"
    told = _told(inspect.getdoc(Policy) or "")
    for field in dataclasses.fields(Policy):
        if field.init:
            yield f"| `{field.name}` | {_default(field.default)} | {told[field.name]} |"


WHAT_FAILS: Mapping[FailureKind, str] = {
    FailureKind.UNREACHABLE: "no connection, or it was closed before there was a head",
    FailureKind.SLOW: "silent for `first_token` or `answer` seconds",
    FailureKind.BROKEN: (
        "500, 502, 504, 408, 409, …; a 403 that says nothing, of what stands in front of it;"
        " or it broke off before it said anything"
    ),
    FailureKind.OVERLOAD: "503, 529, or it says that it is overloaded",
    FailureKind.RATE: "429: too many requests or tokens a minute",
    FailureKind.QUOTA: "402, or it says that credits, plan or the day's tokens are used up",
    FailureKind.AUTH: "401, or a 403 that says why: it does not take the key",
    FailureKind.NO_MODEL: "404: it has no such model",
    FailureKind.TOO_LARGE: "the request is too long for it, or for the plan",
    FailureKind.UNSUPPORTED: "it refuses a parameter",
    FailureKind.BAD_OUTPUT: "a 200 that says nothing, or a call that the model could not write",
    FailureKind.REFUSED: "a policy, a filter or a guardrail refuses",
    FailureKind.BAD_REQUEST: "any other 4xx",
}
_SCOPES = {ScopeKind.KEY: "the key", ScopeKind.KEY_MODEL: "the model, for this key", ScopeKind.PROVIDER_MODEL: "the model"}


def failures() -> Iterator[str]:
    """What becomes of each kind of failure of a target."""
    yield "| `why` | what happened | the next is asked | the same once more | left alone | for |"
    yield "|---|---|---|---|---|---|"
    for kind, treatment in TREATMENTS.items():
        again = "no" if treatment.repeats is SameAgain.NEVER else treatment.repeats.value
        yield f"| `{kind.value}` | {WHAT_FAILS[kind]} | {_next(kind)} | {again} | {_left_alone(treatment)} |"


def _next(kind: FailureKind) -> str:
    if kind is FailureKind.REFUSED:
        return '**no**, or `on_refusal = "next"`'
    if kind is FailureKind.AUTH:
        return "yes; no, if it is the caller's own"
    return "yes" if kind.goes_on else "**no**"


def _left_alone(treatment: Treatment) -> str:
    if treatment.cools is Cools.NEVER or treatment.scope is None:
        return "no |"
    first, cap = treatment.first, treatment.cap
    seconds = f"{first:g} s" if first == cap else f"{first:g} to {cap:g} s"
    when = "" if treatment.cools is Cools.AT_ONCE else f", after {treatment.cools.value}"
    return f"{_SCOPES[treatment.scope]}{when} | {seconds}"


def metrics() -> Iterator[str]:
    """The metrics that there are."""
    yield "| metric | type | labels | what it says |"
    yield "|---|---|---|---|"
    for metric in METRICS:
        yield f"| `{metric.name}` | {metric.type.value} | {quoted(metric.labels)} | {metric.help_text} |"


def _told(docstring: str) -> dict[str, str]:
    """Return what is said of each name that begins a line; what is indented goes on with the line before it."""
    told: dict[str, str] = {}
    name = ""
    for line in docstring.splitlines()[1:]:
        if found := re.fullmatch(r"([a-z_]+)(?: {2,}(.*))?", line):
            name = found[1]
            told[name] = found[2] or ""
        elif line.startswith(" "):
            told[name] = f"{told[name]} {line.strip()}".strip()
    return told


def _default(value: object) -> str:
    if isinstance(value, frozenset | tuple):
        return quoted(sorted(value))
    return f"`{value:,.0f}`" if isinstance(value, int | float) and not isinstance(value, bool) else f"`{value}`"


TABLES: Mapping[str, tuple[str, ...]] = {
    "docs/anthropic.md": (
        "\n".join(member_table("Messages", MESSAGES_ROWS)),
        "\n".join(member_table("Chat", CHAT_ROWS)),
    ),
    "docs/endpoints.md": ("\n".join(endpoints()), "\n".join(spoken())),
    "docs/key.md": ("\n".join(header_fields()), "\n".join(bookkeeping())),
    "docs/metrics.md": ("\n".join(metrics()),),
    "docs/policy.md": ("\n".join(policy()),),
    "docs/routes.md": ("\n".join(failures()),),
    "docs/proxy.md": ("\n".join(providers()), "\n".join(settings())),
    "SECURITY.md": (
        "\n".join(members("ASGI scope", SCOPE)),
        "\n".join(members("`extensions`", EXTENSIONS)),
        "\n".join(members("WSGI environ", ENVIRON, ENVIRON_PREFIXES)),
    ),
    "docs/house.md": ("\n".join(house.table()),),
}

if __name__ == "__main__":
    for name, tables in TABLES.items():
        print(f"{name}:\n", *tables, sep="\n\n")
