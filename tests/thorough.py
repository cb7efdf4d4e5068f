"""Whether a run tries as much as it can, which `tests/faults/test_properties.py` asks for, or a little of everything."""

import os

THOROUGH = bool(os.environ.get("TESTS_LONG"))
