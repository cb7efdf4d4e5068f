"""In how many seconds a target says that it may be asked again: from fields and durations, in order, and never absurd."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.gateway.hints import LONGEST_HINT, bucket_hint, duration_hint, text_hint, waiting_hint
from cachemw.messages import Headers

NOW = datetime.datetime(2026, 11, 30, 5, 0, 0, tzinfo=datetime.UTC).timestamp()
DATE = "Mon, 30 Nov 2026 05:00:00 GMT"


def headers(*fields: tuple[str, str]) -> Headers:
    return tuple((name.encode(), value.encode()) for name, value in fields)


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ([("retry-after", "7")], 7.0),
        ([("Retry-After", " 7 ")], 7.0),
        ([("retry-after", "0.25")], 0.25),
        ([("retry-after", ".5")], 0.5),
        ([("retry-after-ms", "1500")], 1.5),
        ([("retry-after", "9"), ("retry-after-ms", "1500")], 1.5),
        ([("retry-after-ms", "soon"), ("retry-after", "9")], 9.0),
        ([("retry-after-ms", "0"), ("retry-after", "9")], 9.0),
        ([("retry-after", "Mon, 30 Nov 2026 05:00:30 GMT")], 30.0),
        ([("retry-after", "Mon, 30 Nov 2026 04:59:30 GMT")], None),
        ([("retry-after", "Mon, 30 Nov 2026 05:00:30 GMT"), ("date", "Mon, 30 Nov 2026 05:00:10 GMT")], 20.0),
        ([("retry-after", "Mon, 31 Nov 2026 05:00:30 GMT")], None),
        ([("retry-after", "Mon, 30 Nul 2026 05:00:30 GMT")], None),
        ([("retry-after", "86400")], 86_400.0),
        ([("retry-after", "86401")], None),
        ([("retry-after", "Tue, 01 Dec 2099 05:00:00 GMT")], None),
        *(([("retry-after", value)], None) for value in ("", "0", "-1", "1e3", "nan", "inf", "7s", "9" * 500)),
        ([], None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_milliseconds_come_first(
    fields: list[tuple[str, str]], hint: float | None
) -> None:
    """G12: and what is absurd says nothing."""
    assert waiting_hint(headers(*fields), NOW) == hint


def test_a_date_without_a_clock_says_nothing() -> None:
    fields = headers(("retry-after", "Mon, 30 Nov 2026 05:00:30 GMT"))

    assert waiting_hint(fields, None) is None
    assert waiting_hint((*fields, (b"Date", DATE.encode())), None) == 30.0


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ([("x-ratelimit-remaining-tokens-minute", "0"), ("x-ratelimit-reset-tokens-minute", "11.38")], 11.38),
        ([("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")], 360.0),
        ([("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "132ms")], 0.132),
        ([("x-ratelimit-remaining-requests", "1"), ("x-ratelimit-reset-requests", "6m0s")], None),
        ([("x-ratelimit-reset-requests", "6m0s")], None),
        ([("x-ratelimit-remaining-requests", "0")], None),
        ([("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", str(int(NOW + 40)))], 40.0),
        ([("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", str(int((NOW + 40) * 1000)))], 40.0),
        ([("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", str(int(NOW - 40)))], None),
        (
            [
                *(
                    ("anthropic-ratelimit-requests-remaining", "0"),
                    ("anthropic-ratelimit-requests-reset", "2026-11-30T05:00:09Z"),
                ),
                *(("anthropic-ratelimit-tokens-remaining", "0"), ("anthropic-ratelimit-tokens-reset", "2026-11-30T05:00:04Z")),
            ],
            9.0,
        ),
        ([("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2026-11-30T05:00:09")], None),
        ([("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2026-13-30T05:00:09Z")], None),
        ([("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "90000")], None),
        ([("x-ratelimit-remaining", "none"), ("x-ratelimit-reset", "5")], None),
    ],
)
def test_the_last_of_the_exhausted_buckets_says_when_it_is_full(fields: list[tuple[str, str]], hint: float | None) -> None:
    found = bucket_hint(headers(*fields), NOW)

    assert found == (None if hint is None else pytest.approx(hint))


def test_a_bucket_that_is_full_at_a_time_says_nothing_without_a_clock() -> None:
    fields = headers(("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", str(int(NOW + 40))))

    assert bucket_hint(fields, None) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(
            ("52s", 52.0),
            ("0.5s", 0.5),
            ("1h2m3s", 3723.0),
            ("132ms", 0.132),
            ("250µs", 250e-6),
            ("6m0s", 360.0),
            ("1d", 86_400.0),
        ),
        *(("", None), ("52", None), ("s", None), ("0s", None), ("-5s", None), ("25h", None), ("1.2.3s", None), ("5 s", None)),
    ],
)
def test_a_duration_is_as_go_and_protobuf_write_it(text: str, seconds: float | None) -> None:
    assert duration_hint(text) == (None if seconds is None else pytest.approx(seconds))


def test_a_sentence_tells_how_long_it_takes() -> None:
    assert text_hint("Rate limit reached. Please try again in 4.77s. Visit …") == 4.77
    assert text_hint("please TRY AGAIN IN 7m12s") == 432.0
    assert text_hint("try again in a while") is None
    assert text_hint("try again in 48h") is None


NAMES = ["retry-after", "retry-after-ms", "date", "x-ratelimit-remaining-a", "x-ratelimit-reset-a", "ratelimit-reset"]
VALUES = st.text(max_size=30) | st.sampled_from(["0", "5", "6m0s", DATE, "1e400", "9" * 400, "0001-01-01T00:00:00+23:59"])


@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=5), st.none() | st.floats(-1e12, 1e12))
def test_a_hint_is_none_or_more_than_nothing_and_at_most_a_day(fields: list[tuple[str, str]], now: float | None) -> None:
    """G24: a hint of days makes nobody sleep."""
    found = headers(*fields)
    hints = [waiting_hint(found, now), bucket_hint(found, now)]
    for _, value in fields:
        hints += [duration_hint(value), text_hint(f"try again in {value}")]

    assert all(hint is None or 0.0 < hint <= LONGEST_HINT for hint in hints)
