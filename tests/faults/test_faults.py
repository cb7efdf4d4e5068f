"""Each fault a few times; `python -m tests.faults` tries them as often as it takes."""

import os

import pytest

from tests.faults.fault import Fault
from tests.faults.table import FAULTS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(200)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_no_fault_leads_to_a_wrong_answer(fault: Fault) -> None:
    """D1-D10, I1-I8, K7, K9, K10, R1, H3-H6, H9, H11, P3, P4"""
    if reason := fault.why_not():
        pytest.skip(reason)

    tally = fault.run(int(os.environ.get("TESTS_FAULT_TRIALS", fault.small)))

    assert tally.is_clean, tally
