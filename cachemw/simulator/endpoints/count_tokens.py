"""Anthropic's counting of a request's tokens: what `usage` would say of the same request."""

from typing import ClassVar

from cachemw.simulator.answering import answer
from cachemw.simulator.asking import Ask, AskedBody
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.endpoints.base import HollowReason
from cachemw.simulator.endpoints.messages import CountedBody
from cachemw.simulator.endpoints.small import SpokenObject


class CountTokensEndpoint:
    name: ClassVar[str] = "count_tokens"
    path: ClassVar[str] = "/messages/count_tokens"
    home: ClassVar[str] = "anthropic"
    streams: ClassVar[bool] = False

    @property
    def asked(self) -> type[CountedBody]:
        return CountedBody

    def prompt(self, body: CountedBody) -> AskedBody:
        return body.chat

    def sound(self, ask: Ask[CountedBody], dialect: Dialect) -> SpokenObject:
        return SpokenObject({"input_tokens": answer(Ask(ask.body.chat, ask.digest)).prompt_tokens})

    def hollow(self, ask: Ask[CountedBody], dialect: Dialect, reason: HollowReason) -> SpokenObject:
        return SpokenObject({})
