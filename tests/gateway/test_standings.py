"""The standings of one gateway: what each attempt changes, for whom, and how much of it is kept."""

import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from cachemw.gateway import standings as module
from cachemw.gateway.failures import Failure, of_response
from cachemw.gateway.health import GONE, Gone, Good
from cachemw.gateway.standings import Standings


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """The standings of a gateway, by a clock of the test's, without any spread."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.standings = Standings(clock=self.clock, roll=lambda: 0.5)

    def ask(self, result: Good | Failure | Gone, model: str = "m", key: str = "k", *, is_callers: bool = False) -> float | None:
        """Let an attempt begin and end at once; return for how long its target cools."""
        attempt = self.standings.begun("groq", model, key, is_callers=is_callers)
        return self.standings.ended(attempt, result)

    def readiness(self, provider: str = "groq", model: str = "m", key: str = "k", *, is_callers: bool = False) -> str:
        return self.standings.health(provider, model, key, is_callers=is_callers).readiness


def failed(status: int, body: bytes = b"", *fields: tuple[bytes, bytes], provider: str = "groq") -> Failure:
    failure = of_response(provider, status, fields, body)
    assert failure is not None
    return failure


OK = Good(0.2, 100.0)
SPENT = failed(429, b'{"error": {"code": "insufficient_quota"}}')
LIMITED = failed(429, b"", (b"retry-after", b"30"))
BUSY = failed(503)
WRONG_KEY = failed(401)


def test_a_target_of_which_nothing_is_known_is_ready() -> None:
    assert World().readiness() == "ready"


def test_a_spent_key_is_left_with_all_its_models_and_another_key_is_not() -> None:
    """G15: quota cools the key, and not the model."""
    world = World()

    assert world.ask(SPENT) == 300.0
    assert (world.readiness(), world.readiness(model="other")) == ("cooling", "cooling")
    assert (world.readiness(key="another"), world.readiness("openai")) == ("ready", "ready")
    assert world.standings.health("groq", "other", "k").why == "quota"


def test_a_rate_limit_is_one_of_a_key_with_a_model() -> None:
    """G12, G14: for as long as it says, which is what a client can be told."""
    world = World()

    assert world.ask(LIMITED) == 30.0
    assert world.standings.health("groq", "m", "k").until == 1030.0
    assert (world.readiness(), world.readiness(model="other"), world.readiness(key="another")) == ("cooling", "ready", "ready")


def test_an_overload_is_one_of_a_model_with_every_key() -> None:
    world = World()

    assert world.ask(BUSY) == 5.0
    assert (world.readiness(), world.readiness(key="another"), world.readiness(model="other")) == (
        "cooling",
        "cooling",
        "ready",
    )


def test_the_change_holds_for_the_very_next_request() -> None:
    """G13."""
    world = World()
    broken = failed(500)

    assert [world.ask(broken) for _ in range(2)] == [None, None]
    assert world.ask(broken) == 5.0
    assert world.readiness() == "cooling"


def test_an_error_about_the_model_says_nothing_of_the_key_that_is_found_out_about() -> None:
    world = World()
    world.ask(SPENT)
    world.clock.now += 300.0

    world.ask(BUSY)
    assert (world.readiness(), world.readiness(model="other")) == ("cooling", "probe")
    world.ask(OK, model="other")
    assert (world.readiness(), world.readiness(model="other")) == ("cooling", "ready")


def test_one_of_a_hundred_at_once_finds_out_whether_a_target_is_back() -> None:
    """E7: and when it leaves without having found out, one more may."""
    world = World()
    world.ask(BUSY)
    world.clock.now += 5.0
    together = Barrier(100)

    def begin(_: int) -> bool:
        together.wait()
        return not world.standings.begun("groq", "m", "k").is_late

    with ThreadPoolExecutor(100) as threads:
        assert list(threads.map(begin, range(100))).count(True) == 1
    assert world.readiness() == "cooling"


@pytest.mark.parametrize(("result", "readiness"), [(GONE, "probe"), (OK, "ready"), (BUSY, "cooling"), (failed(400), "probe")])
def test_what_the_one_that_finds_out_comes_to_decides(result: Good | Failure | Gone, readiness: str) -> None:
    """G8: a client that leaves changes nothing."""
    world = World()
    world.ask(BUSY)
    world.clock.now += 5.0

    probe = world.standings.begun("groq", "m", "k")
    late = world.standings.begun("groq", "m", "k")
    world.clock.now += 0.5
    world.standings.ended(late, GONE)
    assert (probe.is_late, late.is_late, world.readiness()) == (False, True, "cooling")
    world.standings.ended(probe, result)
    assert world.readiness() == readiness


def test_a_target_is_back_as_soon_as_it_begins_to_answer_soundly() -> None:
    world = World()
    world.ask(BUSY)
    world.clock.now += 5.0
    probe = world.standings.begun("groq", "m", "k")

    world.standings.answering(probe)
    assert (world.readiness(), world.standings.health("groq", "m", "k").busy) == ("ready", 1)
    world.standings.ended(probe, OK)
    assert (world.readiness(), world.standings.health("groq", "m", "k").busy) == ("ready", 0)


def test_requests_that_are_asked_while_a_target_cools_do_not_find_out() -> None:
    """G14: the soonest may be asked, where nobody is ready."""
    world = World()
    world.ask(LIMITED)

    forced = world.standings.begun("groq", "m", "k")
    world.clock.now += 1.0
    world.standings.ended(forced, OK)
    assert (forced.is_late, world.readiness()) == (False, "cooling")


CALLERS_FAILURES = [SPENT, LIMITED, BUSY, WRONG_KEY, failed(404), failed(500), failed(429)]


@pytest.mark.parametrize("failure", CALLERS_FAILURES, ids=lambda failure: failure.kind.value)
def test_with_a_callers_own_key_nothing_is_cooled_but_that_key(failure: Failure) -> None:
    """E7, G9."""
    world = World()
    for _ in range(20):
        world.ask(failure, key="own", is_callers=True)

    assert world.readiness(key="own", is_callers=True) == "cooling"
    assert world.readiness(key="others-own", is_callers=True) == "ready"
    assert (world.readiness(), world.readiness(key="own")) == ("ready", "ready")


def test_what_answers_take_is_measured_of_a_model_with_all_of_our_keys() -> None:
    world = World()
    world.ask(OK)
    world.ask(Good(9.0, 1.0), key="own", is_callers=True)

    ours = world.standings.health("groq", "m", "another")
    assert (ours.first_token, ours.rate) == (0.2, 100.0)
    assert world.standings.health("groq", "m", "own", is_callers=True).first_token == 9.0


def test_a_bad_key_is_one_warning_for_each_cooldown_that_names_the_provider_alone(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    attempts = [world.standings.begun("groq", "secret-model", "secret-key") for _ in range(5)]
    with caplog.at_level(logging.DEBUG):
        for attempt in attempts:
            world.standings.ended(attempt, WRONG_KEY)
        world.ask(SPENT)
        world.ask(WRONG_KEY, key="own", is_callers=True)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        world.clock.now += 4000.0
        world.ask(WRONG_KEY, key="secret-key")

    assert len(caplog.records) == 2
    assert "groq" in caplog.text
    assert "secret" not in caplog.text


def test_a_provider_that_does_not_take_a_parameter_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    refused = failed(422, b'{"detail": [{"type": "extra_forbidden", "msg": "secret"}]}')
    with caplog.at_level(logging.DEBUG):
        world.ask(refused, key="own", is_callers=True)
        assert caplog.records == []
        for _ in range(5):
            world.ask(refused, "secret-model")

    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "groq" in caplog.text
    assert "secret" not in caplog.text


def test_the_oldest_that_nobody_needs_goes_and_callers_push_out_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STANDINGS_LIMIT", 8)
    world = World()
    world.ask(BUSY)
    busy = world.standings.begun("groq", "busy", "k")

    for number in range(100):
        world.ask(WRONG_KEY, key=f"own-{number}", is_callers=True)
    assert world.readiness() == "cooling"

    for number in range(100):
        world.ask(BUSY, model=f"m-{number}")
    assert world.readiness() == "ready"
    assert world.readiness(model="m-99") == "cooling"
    assert world.standings.health("groq", "busy", "k").busy == 1
    assert world.standings.ended(busy, BUSY) == 5.0


def test_more_are_kept_than_the_limit_where_all_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STANDINGS_LIMIT", 2)
    world = World()
    for number in range(5):
        world.standings.begun("groq", f"m-{number}", "k")

    assert [world.standings.health("groq", f"m-{number}", "k").busy for number in range(5)] == [1] * 5


def test_many_threads_lose_nothing() -> None:
    world = World()

    def ask(number: int) -> None:
        world.ask(OK if number % 2 else GONE, model="m")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(400)))
    health = world.standings.health("groq", "m", "k")
    assert (health.busy, health.first_token, health.quantiles) == (0, 0.2, (0.2, 0.2, 0.2, 0.2))
