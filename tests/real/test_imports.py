"""The SDKs are tested with, not built on."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
import cachemw, cachemw.asgi, cachemw.proxy, cachemw.upstreams
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_no_sdk_is_imported_at_run_time() -> None:
    """E4: a fresh process has the package and its dependencies, and neither SDK nor what comes with one."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=30
    )

    modules = set(json.loads(ran.stdout))
    assert {"cachemw", "httpx"} <= modules
    assert not modules & {"openai", "cerebras", "httpx2", "pydantic"}
