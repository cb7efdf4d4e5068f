"""What the key costs: parse, canonicalise, fingerprint."""

from benchmarks.asking import HEADERS, PATH, chat, spaced
from benchmarks.plan import Plan
from benchmarks.tables import Table
from benchmarks.timing import seconds_per_call
from cachemw.cache.key import ANONYMOUS, Key, fingerprint
from cachemw.cache.policy import Policy
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall
from cachemw.endpoints.chat.request import read_chat
from cachemw.messages import HttpTarget, Request

BODIES = {
    "1 KB": chat(1_000),
    "45 KB": chat(45_000),
    "45 KB, spaced out": spaced(chat(45_000)),
    "1 MB": chat(1_000_000),
}


def keys(plan: Plan) -> list[Table]:
    """Measure the key of requests of several sizes."""
    rows = [(label, *_measured(body, plan)) for label, body in BODIES.items()]
    return [Table("keys", "The key of a request", ("request", "µs", "MB/s"), rows)]


def _measured(body: bytes, plan: Plan) -> tuple[float, float]:
    request = Request("POST", PATH, HEADERS, body, HttpTarget("https://api.cerebras.ai:443/v1/chat/completions"))
    rules = Policy().header_rules

    def key() -> Key:
        read = read_chat(CHAT, request)
        assert isinstance(read, ApiCall)
        return fingerprint(request, read.canonical, ANONYMOUS, None, 0, rules)

    seconds = seconds_per_call(key, plan)
    return seconds * 1e6, len(body) / seconds / 1e6
