"""Plans and health in a scripted world, by a clock of its own: outages, quotas, slow hours, and a target that flaps."""

import pytest

from benchmarks.weather import OUTAGES, World
from tests.thorough import THOROUGH

REQUESTS = 100_000 if THOROUGH else 20_000


@pytest.mark.timeout(600)
def test_a_route_answers_in_bad_weather_and_leaves_alone_whom_it_knows_to_be_down() -> None:
    """G11, G14: behaviour, and no time."""
    account = World(REQUESTS).run()

    assert account.requests == REQUESTS
    assert account.answerable - account.unanswered <= account.answered
    assert account.answered_share >= 0.999
    assert account.known_down_share <= 0.01
    assert account.changes <= 2 * OUTAGES
    assert account.attempts < 1.1 * account.requests
