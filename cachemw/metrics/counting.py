"""Count exchanges, and calls of the store: what each of them adds to the sums. Nothing of content, and few words. Pure."""

from collections.abc import Callable, Container

from cachemw.metrics import table
from cachemw.metrics.sums import Sums
from cachemw.metrics.words import OTHER, answered_class, detail_word, fault_kind, miss_reason, status_class
from cachemw.report import ExchangeReport

MODEL_LABELS = 50
"""How many models have a label of their own, in each worker: the first of which an answer came."""

_LONGEST_MODEL = 100
_FREE = frozenset({"hit", "stale", "collapsed"})
_OF_MODELS = {metric.name for metric in table.METRICS if "model" in metric.labels}


class Counter:
    """Adds exchanges and calls to sums. Providers that nobody knows, and endpoints that are not among these, are one."""

    def __init__(self, is_provider: Callable[[str], bool], endpoints: Container[str]) -> None:
        self.sums = Sums()
        self._is_provider, self._endpoints = is_provider, endpoints
        self._models: set[str] = set()

    def resume(self, found: Sums) -> None:
        """Go on from sums that somebody else has left."""
        self.sums.merge(found)
        self._models.update(labels[1] for name, *labels in found.counters if name in _OF_MODELS)
        self._models.discard(OTHER)

    def add_exchange(self, report: ExchangeReport) -> None:
        """Add one exchange; one that stands for several hits counts for all of them."""
        sums, count, outcome = self.sums, report.count, report.outcome
        provider = self._provider(report.target)
        endpoint = report.endpoint if report.endpoint in self._endpoints else OTHER
        sums.add((table.REQUESTS.name, endpoint or OTHER, outcome, provider), count)
        for detail in report.details:
            sums.add((table.DETAILS_TOLD.name, detail_word(detail)), count)
        stream = {True: "true", False: "false", None: ""}[report.stream]
        if report.total is not None:
            sums.observe((table.DURATION.name, outcome, stream), report.total, count)
        if report.first_byte is not None:
            sums.observe((table.FIRST_BYTE.name, outcome, stream), report.first_byte, count)
        self._add_kept(report)
        self._add_asked(report, provider)
        self._add_used(report, provider)

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
        elif report.stored is False and report.fwd_status is not None and not report.collapsed:
            self.sums.add((table.NOT_KEPT.name, detail_word(report.detail)), 1)
        if (reason := miss_reason(report)) is not None:
            self.sums.add((table.MISS_REASON.name, reason), report.count)

    def _add_asked(self, report: ExchangeReport, provider: str) -> None:
        if not report.attempts or report.collapsed:
            return
        before = _asked_before(report)
        for name, status in before:
            self.sums.add((table.UPSTREAM_REQUESTS.name, self._provider(name), status_class(status)), 1)
        answered = answered_class(report)
        if (alone := report.attempts - len(before)) > 0:
            self.sums.add((table.UPSTREAM_REQUESTS.name, provider, answered), alone)
        if report.attempts == 1 and report.total is not None:
            self.sums.observe((table.UPSTREAM_DURATION.name, provider, answered), report.total)

    def _add_used(self, report: ExchangeReport, provider: str) -> None:
        """Add tokens, money and time: what was bought, or what was saved, never both."""
        has_answered = report.status is not None and 200 <= report.status < 300
        of, count = (provider, self._model(report.model) if has_answered else OTHER), report.count
        if report.cost:
            self.sums.add((table.COST.name, *of), report.cost * count)
        if not has_answered:
            return
        usage, is_free = report.usage, report.outcome in _FREE
        if usage is not None:
            tokens = table.TOKENS_SAVED if is_free else table.TOKENS_BOUGHT
            self.sums.add((tokens.name, *of, "input"), (usage.input_tokens or 0) * count)
            self.sums.add((tokens.name, *of, "output"), (usage.output_tokens or 0) * count)
        if is_free and report.saved:
            self.sums.add((table.COST_SAVED.name, *of), report.saved * count)
        if report.took is not None and report.total is not None:
            self.sums.add((table.TIME_SAVED.name, *of), max(0, int((report.took - report.total) * 1000)) * count)

    def _provider(self, target: str | None) -> str:
        name = "" if target is None else target.partition("/")[0]
        return name if self._is_provider(name) else OTHER

    def _model(self, model: str | None) -> str:
        """Return the label of a model that has answered."""
        if not model or len(model) > _LONGEST_MODEL:
            return OTHER
        if not model.isascii():
            model = model.encode(errors="replace").decode()  # half a character can be in no file
        if model not in self._models:
            if len(self._models) >= MODEL_LABELS:
                return OTHER
            self._models.add(model)
        return model


def _asked_before(report: ExchangeReport) -> list[tuple[str, int | None]]:
    """Return who of those that were tried was asked, with the status each gave: the last ones, for others were left alone.

    The one who is shown is among them where all of them failed, and nobody is shown where a stored answer stands in.
    """
    last = [(one.name, one.status) for one in report.tried or ()][-report.attempts :]
    all_failed = report.ttl is not None or (report.target, report.fwd_status) in last
    return last if all_failed or len(last) < report.attempts else last[1:]
