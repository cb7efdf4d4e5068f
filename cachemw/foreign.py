"""Calls into code that is not ours, whatever it raises: the operator's partition function, and hooks."""

import logging
from collections.abc import Iterable

from cachemw.core.messages import Request
from cachemw.core.policy import Policy
from cachemw.core.report import ExchangeReport, Hook
from cachemw.errors import PartitionError

logger = logging.getLogger(__name__)


def name_partition(policy: Policy, request: Request) -> bytes | None:
    """Return what the operator's function says. Raises `PartitionError` where it raises, or says something else."""
    assert callable(policy.partition)  # noqa: S101 - the script asks only then
    try:
        name = policy.partition(request)
    except Exception as exc:
        raise PartitionError("the partition function raised") from exc
    if name is not None and not isinstance(name, bytes):
        raise PartitionError("the partition function must return bytes or None")
    return name


def tell(hooks: Iterable[Hook], report: ExchangeReport) -> None:
    """Tell every hook."""
    for hook in hooks:
        try:
            hook(report)
        except Exception as exc:  # noqa: BLE001 - a hook is not part of the answer
            logger.warning("a hook raised %s", type(exc).__name__)
