"""Call what a mount was given: the partition function and hooks, whatever they raise, and a gateway's planner."""

import logging
from collections.abc import Iterable

from cachemw.cache.effects import AskPlan
from cachemw.cache.plans import Plan, Planner
from cachemw.cache.policy import Policy
from cachemw.errors import PartitionError
from cachemw.messages import Request
from cachemw.report import ExchangeReport, Hook

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


def planned(planner: Planner | None, ask: AskPlan) -> Plan:
    """Return the plan of a request that goes to a gateway."""
    assert planner is not None  # noqa: S101 - the script asks only where there is one
    return planner.plan(ask.request, ask.members, ask.endpoint)


def call_hooks(hooks: Iterable[Hook], report: ExchangeReport) -> None:
    """Tell every hook."""
    for hook in hooks:
        try:
            hook(report)
        except Exception as exc:  # noqa: BLE001 - a hook is not part of the answer
            logger.warning("a hook raised %s", type(exc).__name__)
