"""Count exchanges, and calls of the store: what each of them adds to the sums. Nothing of content, and few words. Pure."""

from collections.abc import Callable, Container

from cachemw.metrics import table
from cachemw.metrics.sums import CountedSums
from cachemw.metrics.words import OTHER, answered_class, detail_word, fault_kind, miss_reason, status_class, upstream_status
from cachemw.report import ExchangeReport

MODEL_LABELS = 50
"""How many models have a label of their own, in each worker: the first of which an answer came."""

_LONGEST_MODEL = 100
_LARGEST = 2**48  # of one exchange: an upstream says what it likes
_REQUESTS, _DETAILS, _DURATION = table.REQUESTS.name, table.DETAILS_TOLD.name, table.DURATION.name
_FIRST_BYTE, _TOKENS, _TOKENS_SAVED = table.FIRST_BYTE.name, table.TOKENS_BOUGHT.name, table.TOKENS_SAVED.name
_COST, _COST_SAVED, _TIME_SAVED = table.COST.name, table.COST_SAVED.name, table.TIME_SAVED.name
_STREAM = {True: "true", False: "false", None: ""}
_FREE = frozenset({"hit", "stale", "collapsed"})
_OF_MODELS = {metric.name for metric in table.METRICS if "model" in metric.labels}


class Counter:
    """Adds exchanges and calls to sums. Providers that nobody knows, and endpoints that are not among these, are one."""

    def __init__(self, is_provider: Callable[[str], bool], endpoints: Container[str]) -> None:
        self.sums = CountedSums()
        self._is_provider, self._endpoints = is_provider, endpoints
        self._models: dict[str, str] = {}

    def resume(self, found: CountedSums) -> None:
        """Go on from sums that somebody else has left."""
        self.sums.merge(found)
        models = {labels[1] for name, *labels in found.counters if name in _OF_MODELS}
        self._models.update({model: model for model in models - {OTHER}})

    def add_exchange(self, report: ExchangeReport) -> None:
        """Add one exchange; one that stands for several hits counts for all of them."""
        sums, count, outcome, target = self.sums, report.count, report.outcome, report.target
        provider = target.partition("/")[0] if target else ""
        if not self._is_provider(provider):
            provider = OTHER
        endpoint = report.endpoint or OTHER
        sums.add((_REQUESTS, endpoint if endpoint in self._endpoints else OTHER, outcome, provider), count)
        for detail in report.details:
            sums.add((_DETAILS, detail_word(detail)), count)
        stream = _STREAM[report.stream]
        if report.total is not None:
            sums.observe((_DURATION, outcome, stream), report.total, count)
        if report.first_byte is not None:
            sums.observe((_FIRST_BYTE, outcome, stream), report.first_byte, count)
        if not report.hit:
            self._add_kept(report)
        if report.attempts and not report.collapsed:
            self._add_asked(report, provider)
        self._add_used(report, provider, is_free=outcome in _FREE)

    def add_call(self, call: str, seconds: float, fault: BaseException | None) -> None:
        """Add one call of the store, and the fault in which it ended."""
        self.sums.observe((table.STORE_DURATION.name, call), seconds)
        if (kind := fault_kind(fault)) is not None:
            self.sums.add((table.STORE_ERRORS.name, call, kind), 1)

    def _add_kept(self, report: ExchangeReport) -> None:
        if not report.opted_in:
            return
        if report.stored:
            self.sums.add((table.KEPT.name,), 1)
        elif report.stored is False and upstream_status(report) is not None and not report.collapsed:
            self.sums.add((table.NOT_KEPT.name, detail_word(report.detail)), 1)
        if (reason := miss_reason(report)) is not None:
            self.sums.add((table.MISS_REASON.name, reason), report.count)

    def _add_asked(self, report: ExchangeReport, provider: str) -> None:
        before = _asked_before(report)
        for name, status in before:
            self.sums.add((table.UPSTREAM_REQUESTS.name, self._provider(name), status_class(status)), 1)
        answered = answered_class(report)
        if (alone := report.attempts - len(before)) > 0:
            self.sums.add((table.UPSTREAM_REQUESTS.name, provider, answered), alone)
        if report.attempts == 1 and report.total is not None:
            self.sums.observe((table.UPSTREAM_DURATION.name, provider, answered), report.total)

    def _add_used(self, report: ExchangeReport, provider: str, *, is_free: bool) -> None:
        """Add tokens, money and time: what was bought, or what was saved, never both."""
        status, usage, count = report.status, report.usage, report.count
        has_answered = status is not None and 200 <= status < 300
        model, add = self._model(report.model) if has_answered else OTHER, self.sums.add
        if report.cost:
            add((_COST, provider, model), min(report.cost, _LARGEST) * count)
        if not has_answered:
            return
        if usage is not None:
            tokens = _TOKENS_SAVED if is_free else _TOKENS
            add((tokens, provider, model, "input"), min(usage.input_tokens or 0, _LARGEST) * count)
            add((tokens, provider, model, "output"), min(usage.output_tokens or 0, _LARGEST) * count)
        if is_free and report.saved:
            add((_COST_SAVED, provider, model), min(report.saved, _LARGEST) * count)
        if report.took is not None and report.total is not None:
            saved = max(0, int((report.took - report.total) * 1000))
            add((_TIME_SAVED, provider, model), min(saved, _LARGEST) * count)

    def _provider(self, target: str | None) -> str:
        name = "" if target is None else target.partition("/")[0]
        return name if self._is_provider(name) else OTHER

    def _model(self, model: str | None) -> str:
        """Return the label of a model that has answered."""
        label = self._models.get(model or "")
        if label is not None:
            return label
        if not model or len(model) > _LONGEST_MODEL or len(self._models) >= MODEL_LABELS:
            return OTHER
        return self._models.setdefault(model, model.encode(errors="replace").decode())  # half a character is in no file


def _asked_before(report: ExchangeReport) -> list[tuple[str, int | None]]:
    """Return who of those that were tried was asked, with the status each gave: the last ones, for others were left alone.

    The one who is shown is among them where all of them failed, and nobody is shown where a stored answer stands in.
    """
    last = [(one.name, one.status) for one in report.tried or ()][-report.attempts :]
    all_failed = report.ttl is not None or (report.target, report.fwd_status) in last
    return last if all_failed or len(last) < report.attempts else last[1:]
