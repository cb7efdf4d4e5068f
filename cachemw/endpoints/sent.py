"""The body of a request as a target is sent it: with that target's model, and what the operator sets or drops."""

import msgspec

from cachemw.endpoints.base import RawMembers
from cachemw.routing import Rewrite


def sent_body(body: bytes, rewrite: Rewrite) -> bytes:
    """Return the body of a request, one JSON object, as it is sent; every member that is not named keeps its bytes.

    The object is known to name no member twice: who names one twice would be answered for another than was meant.
    """
    if rewrite.is_nothing:
        return body
    members = msgspec.json.decode(body, type=RawMembers)
    for name in rewrite.drop:
        members.pop(name, None)
    members |= {name: msgspec.Raw(value) for name, value in rewrite.set}
    if rewrite.model is not None:
        members["model"] = msgspec.Raw(msgspec.json.encode(rewrite.model))
    return msgspec.json.encode(members)
