"""The options by which commands are told which records, or which exchanges, are meant: the members of the one filter."""

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, TypeVar

import typer

from cachemw.errors import InvalidSetting
from cachemw.inventory.filters import FILTER_MEMBERS, Filter, FilterMember, Subject

C = TypeVar("C", bound=Callable[..., None])

FilterOptions = str | bool | None
"""The value of an option: text, or a switch that is on; `None` where it is not given."""


def takes_filters(subject: Subject) -> Callable[[C], C]:
    """Give a command the options of the filter that concern this, after those of its own; it gets them as `**options`."""

    def given(command: C) -> C:
        own = [one for one in signature(command).parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        ours = [_parameter(member) for member in FILTER_MEMBERS.values() if subject in member.subjects]
        command.__signature__ = Signature([*own, *ours])  # type: ignore[attr-defined]
        return command

    return given


def filter_of(options: Mapping[str, FilterOptions]) -> Filter:
    """Return the filter that a command was given. Raises `typer.BadParameter`; a value that is empty is somebody's mistake."""
    given = {FILTER_MEMBERS[name]: value for name, value in options.items() if value not in (None, False)}
    if empty := [member.option for member, value in given.items() if value == ""]:
        raise typer.BadParameter("it is empty", param_hint=empty[0])
    try:
        return Filter.from_query({member.word: "1" if value is True else str(value) for member, value in given.items()})
    except InvalidSetting as exc:
        raise typer.BadParameter(exc.reason, param_hint=f"--{exc.place}") from exc


def _parameter(member: FilterMember) -> Parameter:
    kind: Any = bool if member.is_switch else str | None
    default = False if member.is_switch else None
    option = typer.Option(member.option, help=member.help_text, metavar=member.form.metavar or None, show_default=False)
    return Parameter(member.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
