"""The checked-in keys of `tests/data/keys.json`, computed again; as a program, in a process of its own."""

import json
import sys
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cachemw.cache.key import SHARED, Key, by_client, by_credential, by_name, callers_credentials, fingerprint, is_lent
from cachemw.cache.policy import Policy
from cachemw.messages import AppTarget, Attested, ClientTarget, Headers, HttpRecipient, HttpTarget, Sends, Target
from tests.cache.keying import asking, form_of

FILE = Path(__file__).parents[1] / "data" / "keys.json"


def vectors() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return loaded


def key_again(vector: dict[str, Any]) -> Key:
    """Return the key of a vector's request."""
    target = answerer_of(vector)
    headers, body = fields(vector, "headers"), vector["body"].encode()
    attested = Attested(fields(vector, "vouched"), vector.get("session", "").encode())
    brought = callers_credentials(headers, over_http=isinstance(target, HttpTarget))
    lent, sent = is_lent(brought, target.recipient), (*brought, *attested.credentials)
    secret = vector.get("secret")
    partition = SHARED if secret is None else by_credential(bytes.fromhex(secret), lent, sent)
    if "client" in vector:
        partition = by_client(bytes.fromhex(vector["secret"]), lent, vector["client"])
    if "named" in vector:
        partition = by_name(vector["named"].encode())
    rules = Policy(vary=tuple(vector.get("vary", ()))).header_rules
    request = replace(asking(body, target, headers), attested=attested)
    return fingerprint(request, form_of(body, target), partition, vector.get("namespace"), vector.get("sample", 0), rules)


def fields(vector: dict[str, Any], of: str) -> Headers:
    return tuple((name.encode(), value.encode()) for name, value in vector.get(of, []))


def answerer_of(vector: dict[str, Any]) -> Target:
    if "host" in vector:
        return ClientTarget(vector["url"], vector["host"].encode())
    if "url" in vector:
        target = HttpRecipient(
            vector.get("provider"),
            frozenset(vector.get("bookkeeping", ())),
            Sends[vector.get("sends", "CALLERS")],
            fields(vector, "operators"),
        )
        return HttpTarget(vector["url"], target)
    path = vector["path"].encode()
    return AppTarget(vector["app"], vector.get("root", "").encode(), path, path, vector["query"].encode())


if __name__ == "__main__":
    keys = [key_again(vector) for vector in vectors()]
    json.dump([{"index": key.index.hex(), "proof": key.proof.hex()} for key in keys], sys.stdout)
