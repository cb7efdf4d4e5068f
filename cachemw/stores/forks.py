"""What a store does when its process forks."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakMethod


def over_forks(before: Callable[[], Any], after: Callable[[], Any]) -> None:
    """Have two methods called around every fork as long as there is what they belong to: `after` in either process.

    What is made while another thread forks is told only that the fork is over.
    """
    begin, end = WeakMethod(before), WeakMethod(after)
    os.register_at_fork(before=partial(_call, begin), after_in_parent=partial(_call, end), after_in_child=partial(_call, end))


def _call(method: WeakMethod[Callable[[], Any]]) -> None:
    if (alive := method()) is not None:
        alive()
