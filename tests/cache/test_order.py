"""In which order records take each other's place."""

import pytest

from cachemw.cache.order import Order, Placed, place, placed
from cachemw.errors import Purged, Superseded

# When a forward began: the generation, how many puts there had been, and the time.
MINE = Order(generation=7, puts=10, began=1_000)


def landing(generation: int = 7, puts: int = 12, began: int = 5_000) -> Order:
    """Return how the store stands when the forward's answer comes."""
    return Order(generation, puts, began)


@pytest.mark.parametrize(
    ("there", "is_kept"),
    [
        pytest.param(None, True, id="nothing is there"),
        pytest.param(Placed(put=9, began=900), True, id="it was there before, and asked for before"),
        pytest.param(Placed(put=11, began=900), True, id="it came meanwhile, and was asked for before"),
        pytest.param(Placed(put=11, began=1_000), True, id="it came meanwhile, and was asked for at the same moment"),
        pytest.param(Placed(put=11, began=1_001), False, id="it came meanwhile, and was asked for later"),
        pytest.param(Placed(put=10, began=9_000), True, id="it was there before: the clock began anew since"),
        pytest.param(Placed(put=13, began=1_001), True, id="it claims a put that was not made yet"),
        pytest.param(Placed(put=11, began=5_001), True, id="it claims to have been asked for in the future"),
    ],
)
def test_a_record_never_takes_the_place_of_one_that_was_asked_for_later(there: Placed | None, is_kept: bool) -> None:
    """F82, A1: a slow miss that lands after a refresh."""
    if is_kept:
        assert place(MINE, [there], landing()) == Placed(put=13, began=1_000)
    else:
        with pytest.raises(Superseded):
            place(MINE, [there], landing())


@pytest.mark.parametrize("generation", [6, 8])
@pytest.mark.parametrize("there", [None, Placed(put=9, began=900), Placed(put=11, began=2_000)])
def test_what_was_asked_for_on_the_other_side_of_a_purge_is_not_kept(there: Placed | None, generation: int) -> None:
    """F83, A1, I24: whichever key was purged, and also where the whole store was made anew."""
    with pytest.raises(Purged):
        place(MINE, [there], landing(generation))


def test_what_is_kept_beside_a_record_is_read_again() -> None:
    assert placed(Placed(put=2**40, began=2**62).to_bytes()) == Placed(put=2**40, began=2**62)


@pytest.mark.parametrize("raw", [None, b"", b"x" * 15, b"x" * 17, "x" * 16, 5])
def test_what_somebody_else_put_there_is_no_place(raw: object) -> None:
    """D8."""
    assert placed(raw) is None
