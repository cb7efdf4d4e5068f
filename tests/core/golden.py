"""The checked-in keys of `tests/data/keys.json`, computed again; as a program, in a process of its own."""

import json
import sys
from pathlib import Path
from typing import Any

from cachemw.core.fingerprint import Key, fingerprint
from cachemw.core.messages import Answerer, AppAnswerer, HttpAnswerer
from cachemw.core.partition import SHARED, by_credential, callers_credentials
from cachemw.core.policy import Policy
from tests.core.keying import asking, form_of

FILE = Path(__file__).parents[1] / "data" / "keys.json"


def vectors() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return loaded


def key_again(vector: dict[str, Any]) -> Key:
    """Return the key of a vector's request."""
    answerer = answerer_of(vector)
    headers = tuple((name.encode(), value.encode()) for name, value in vector.get("headers", []))
    body = vector["body"].encode()
    sent = callers_credentials(headers, over_http=isinstance(answerer, HttpAnswerer))
    secret = vector.get("secret")
    partition = SHARED if secret is None else by_credential(bytes.fromhex(secret), sent)
    rules = Policy(vary=tuple(vector.get("vary", ()))).header_rules
    request = asking(body, answerer, headers)
    return fingerprint(request, form_of(body, answerer), partition, vector.get("namespace"), vector.get("sample", 0), rules)


def answerer_of(vector: dict[str, Any]) -> Answerer:
    if "url" in vector:
        return HttpAnswerer(vector["url"])
    return AppAnswerer(vector["app"], vector["path"].encode(), vector["query"].encode())


if __name__ == "__main__":
    keys = [key_again(vector) for vector in vectors()]
    json.dump([{"index": key.index.hex(), "proof": key.proof.hex()} for key in keys], sys.stdout)
