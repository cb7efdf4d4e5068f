"""Note each refusal to keep an answer: one line of the log, and what a mount remembers of it."""

import logging

from cachemw.cache.lookup import VerifiedRecords
from cachemw.cache.refusals import LastRefusals
from cachemw.limits import Limits
from cachemw.report import STORE_SLOW

logger = logging.getLogger(__name__)


def verified_records(limits: Limits) -> VerifiedRecords:
    """Return what a mount remembers of records, and of answers that were not kept; these are logged."""
    return VerifiedRecords(limits, LastRefusals(log_refusal))


def log_refusal(detail: str, endpoint: str, index: bytes, host: str) -> None:
    """Log why an answer was not kept; that an upstream answered with an error was logged as that."""
    if not (host and detail == "not-200"):
        whose = f" of {host}" if host else ""
        became = "may not have been kept" if detail == STORE_SLOW else "was not kept"  # what nobody waits for may still be done
        logger.info("an answer%s %s: %s (%s, key %s)", whose, became, detail, endpoint, index.hex())
