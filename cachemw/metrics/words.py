"""The words that labels may be, of which there are a few: whatever else an exchange says is `other`. Pure."""

from cachemw.errors import RecordError, RecordRefused, StoreTimeout
from cachemw.report import ExchangeReport

OTHER = "other"

DETAIL_WORDS = frozenset(
    "ambiguous-json ambiguous-stream assembled audio background bad-record broken-block broken-input busy client-left container"
    " content-type context-management conversation empty-answer empty-choice encoded-answer encoded-request error-answer"
    " error-event estimated event-after-done file incomplete invalid-cachemw invalid-head invalid-json invalid-path"
    " item-reference kept-out key-mismatch max-stale mcp-servers missing-choice mixed-events mode-read no-end no-hedge no-input"
    " no-key no-max-tokens no-message no-messages no-partition no-prompt no-start no-store no-usage not-200 not-cached"
    " not-in-parts not-iterated not-json not-routed other-dialect other-kind other-path partial-unfit previous-response"
    " prompt-version purged record-too-large replay request-too-large second-choice second-start server-tool stale-if-error"
    " stale-while-revalidate store-failed store-requested store-slow store-unreadable superseded thread timeout too-complex"
    " transcoded truncated two-framings unclosed-block unfinished-answer unfinished-choice unreachable unreadable-answer"
    " unreadable-event web-search".split()
)
"""The details of `docs/cache-status.md` that are one word each."""

DETAIL_PREFIXES = ("finish", "ignored", "partial", "was")
"""The beginnings of those that go on with anything: they are counted by their beginning alone."""

_UNUSABLE = frozenset({"bad-record", "key-mismatch", "no-usage", "other-dialect", "other-kind"})

_FAILED = frozenset({"invalid-head", "timeout", "two-framings", "unreachable"})


def detail_word(detail: str | None) -> str:
    """Return the word by which a detail is counted."""
    if detail in DETAIL_WORDS:
        return detail
    beginning = "" if detail is None else detail.partition("-")[0]
    return beginning if beginning in DETAIL_PREFIXES else OTHER


def status_class(status: int | None) -> str:
    """Return the class of an upstream's status; `error` where it gave none."""
    if status is None:
        return "error"
    if status == 429:
        return "429"
    return f"{status // 100}xx" if status // 100 in (2, 4, 5) else OTHER


def upstream_status(report: ExchangeReport) -> int | None:
    """Return the status that the last upstream gave; what is passed on as it came has that of its upstream."""
    is_passed_on = report.fwd == "bypass" or not report.opted_in
    if report.fwd_status is not None or not is_passed_on or _FAILED.intersection(report.details):
        return report.fwd_status
    return report.status


def answered_class(report: ExchangeReport) -> str:
    """Return the class of what the last upstream answered; `left` where the client did not wait for that."""
    status = upstream_status(report)
    return "left" if status is None and "client-left" in report.details else status_class(status)


def miss_reason(report: ExchangeReport) -> str | None:
    """Return why what is stored did not answer a request that an upstream was asked for, or nobody; `None` for all others.

    Why there is no record, `cachemw why` finds out: that takes a look at all others.
    """
    match report.fwd:
        case "stale":
            return "expired"
        case "request":
            return "asked_anew"
        case "miss":
            return "unusable" if _UNUSABLE.intersection(report.details) else "absent"
    return "not_cached" if report.outcome == "not_cached" else None


def fault_kind(fault: BaseException | None) -> str | None:
    """Return the kind of a fault of the store's; `None` where there is none: a record that it does not take is no fault."""
    match fault:
        case None | RecordRefused():
            return None
        case RecordError():
            return "damaged"
        case StoreTimeout():
            return "timeout"
    return "error"
