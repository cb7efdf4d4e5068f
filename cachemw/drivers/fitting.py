"""Fit a store and a policy together, as every mount uses them."""

import dataclasses

from cachemw.cache.policy import Policy
from cachemw.errors import ConfigurationError
from cachemw.stores.base import Store


def fitted(store: Store, policy: Policy) -> tuple[Store, Policy]:
    """Return a store and a policy as they work together. Raises `ConfigurationError` where they cannot.

    Where only the store answers it is opened for reading, and one that is not there is an error. Requests are kept where the
    store demands it, and then say themselves what a sketch would.
    """
    if policy.partition == "credential" and not store.keeps_secret:
        raise ConfigurationError(
            f'the store in {store.place} keeps no secret by which callers could be told apart: say Policy(partition="shared"),'
            " so that one record answers whoever asks, or set CACHEMW_SECRET"
        )
    if store.keeps_requests and not policy.keep_requests:
        policy = dataclasses.replace(policy, keep_requests=True)
    if store.keeps_requests and policy.sketch:
        policy = dataclasses.replace(policy, sketch=False)
    return (store.read_only() if policy.replays else store), policy
