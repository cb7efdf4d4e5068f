"""Decide who may share what another request's forward brought.

What an upstream says to the question is for everybody; what it says to whoever asked is for who would have sent the same.
"""

import msgspec

from cachemw.cache.header_rules import unkeyed
from cachemw.cache.key import is_lent
from cachemw.cache.policy import Policy
from cachemw.messages import Headers, Kind, Request
from cachemw.redaction import redacted_repr

_OF_THE_CREDENTIAL = frozenset({401, 402, 404, 408, 409, 413, 429})
"""Not allowed, no credit, no such model, too slow, in conflict, too large, too many: said to whoever sends this credential."""


class Sender(msgspec.Struct, frozen=True):
    """The part of a request that an upstream sees beyond the key: `credential` is empty where it is the operator's."""

    credential: Headers
    fields: Headers

    __repr__ = redacted_repr


class Course(msgspec.Struct, frozen=True):
    """The identity of a forward, by which others can follow it: its question, which form of the answer, and since which purge.

    `is_apart`: it was begun by who may not have another's answer, and is only for who would send the same.
    """

    parts: bytes
    kind: Kind
    generation: int | None
    sender: Sender
    is_apart: bool = False

    __repr__ = redacted_repr

    def may_follow(self, leader: "Course") -> bool:
        """Say whether a forward for this may be the one that was begun for another."""
        return self.kind == leader.kind and (self.sender == leader.sender or not (self.is_apart or leader.is_apart))


def sender_of(request: Request, policy: Policy) -> Sender:
    """Return what of a request reaches its upstream and is not in its key."""
    recipient, brought = request.target.recipient, request.caller.brought
    return Sender(() if is_lent(brought, recipient) else brought, unkeyed(request.headers, recipient, policy.header_rules))


def is_shared(status: int, leader: Sender, follower: Sender) -> bool:
    """Say whether what a leader was answered with this status may be shown to a follower.

    An answer, and that the upstream is in trouble, is everybody's. Of the rest, what was said to a credential is for who sends
    the same one, unless the leader asked not to wait for a turn; all else may be about any field that was sent.
    """
    if status < 300 or status >= 500 or leader == follower:
        return True
    if status not in _OF_THE_CREDENTIAL or leader.credential != follower.credential:
        return False
    return _threshold(leader) in ((), _threshold(follower))


def _threshold(sender: Sender) -> Headers:
    return tuple([field for field in sender.fields if field[0] == b"queue_threshold"])
