"""Whether mounts recall in this run: `TESTS_RECALL=off` lets them decide every request anew."""

import gc
import os
from typing import Any

from cachemw import Limits

IS_ON = {"": True, "on": True, "off": False}[os.environ.get("TESTS_RECALL", "")]


def switch_off() -> None:
    """Let all `Limits()` be without recall: those to come, those that are defaults already, and those of proxies elsewhere."""
    os.environ["CACHEMW_RECALL_MEMORY"] = "0"
    defaults: dict[str, Any] = Limits.__init__.__kwdefaults__  # type: ignore[assignment]
    defaults["recall_bytes"] = 0
    for limits in [known for known in gc.get_objects() if type(known) is Limits]:
        object.__setattr__(limits, "recall_bytes", 0)
