"""Reports of exchanges as a gateway makes them, and any report that there could be."""

from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw.messages import Usage
from cachemw.report import ExchangeReport
from cachemw.routing import Tried

MISS = ExchangeReport(
    id="0123456789abcdef",
    at=1_796_000_000.0,
    fwd="miss",
    fwd_status=200,
    stored=True,
    key="7c5d8f6f",
    endpoint="chat",
    target="cerebras/gpt-oss-120b",
    route="auto",
    client="evals",
    model="gpt-oss-120b",
    stream=False,
    answered_model="gpt-oss-120b",
    status=200,
    usage=Usage(812, 301, 100, 20, 5),
    cost=421_000,
    cost_basis="priced",
    tried=(),
    bytes_in=900,
    bytes_out=2000,
    first_byte=0.21,
    total=0.911,
    attempts=1,
)
HIT = replace(
    MISS,
    fwd=None,
    fwd_status=None,
    stored=None,
    hit=True,
    ttl=50,
    cost=0,
    saved=421_000,
    cost_basis=None,
    attempts=0,
    first_byte=0.0001,
    total=0.0002,
)
STALE = replace(HIT, ttl=-40, details=("stale-while-revalidate",))
COLLAPSED = replace(MISS, collapsed=True, attempts=0, cost=0, saved=421_000)
PASSED = ExchangeReport(opted_in=False, endpoint="chat", target="cerebras", status=200, total=0.5, attempts=1)

_names = (
    st.none() | st.text(max_size=300) | st.sampled_from(["cerebras/gpt-oss-120b", "openai", "chat", "https://x.example/v1"])
)
_numbers = st.none() | st.integers(0, 2**63)
_statuses = st.none() | st.integers(100, 599)
_seconds = st.none() | st.floats(0, 1e9)
_details = st.text(max_size=30) | st.sampled_from(["not-200", "was-incomplete", "finish-x", "client-left", "partial-3-of-4"])

reports = st.builds(
    ExchangeReport,
    opted_in=st.booleans(),
    hit=st.booleans(),
    fwd=st.sampled_from([None, "bypass", "miss", "request", "stale"]),
    fwd_status=_statuses,
    ttl=st.none() | st.integers(-1000, 1000),
    stored=st.sampled_from([None, True, False]),
    collapsed=st.booleans(),
    details=st.lists(_details, max_size=3).map(tuple),
    count=st.integers(1, 10_000),
    endpoint=_names,
    target=_names,
    model=_names,
    stream=st.sampled_from([None, True, False]),
    status=_statuses,
    usage=st.none() | st.builds(Usage, _numbers, _numbers),
    tried=st.none() | st.lists(st.builds(Tried, st.text(max_size=9), st.just("rate"), _statuses), max_size=3).map(tuple),
    cost=_numbers,
    saved=_numbers,
    first_byte=_seconds,
    total=_seconds,
    attempts=st.integers(0, 4),
)
