"""K10: an upstream that answers with everything it received finds any unkeyed input, without knowing its name."""

import anyio
import pytest

from tests.faults.reflecting import KINDS, try_pairs

PAIRS = 100
"""At every mount; `tests.faults` tries more."""


@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_is_given_to_a_request_that_would_have_been_answered_otherwise(kind: str) -> None:
    """K10, K2, K6, H11: for any two requests whose reflections differ in what can reach the model, no hit."""
    tally = anyio.run(try_pairs, kind, PAIRS)

    assert tally.is_clean, tally
    assert tally.trials == PAIRS
