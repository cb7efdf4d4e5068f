"""Every target over its seeds, and over what hypothesis makes; `python -m tests.fuzz` searches for as long as it is told."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.__main__ import main
from tests.fuzz.table import CORPUS, TARGETS, WORDS, seeds, target


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_holds(name: str) -> None:
    """K6, K9, S8, R1, D8: one that a search found is a fault that was mended."""
    fuzz_one = target(name)

    for seed in seeds(name):
        fuzz_one(seed.read_bytes())

    assert len(seeds(name)) >= 8


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_hold(name: str) -> None:
    """K6, K9, S8, R1, D8."""
    fuzz_one = target(name)

    @given(st.binary(max_size=200) | st.sampled_from([seed.read_bytes() for seed in seeds(name)]).flatmap(mutations))
    def holds(data: bytes) -> None:
        fuzz_one(data)

    holds()


def mutations(seed: bytes) -> st.SearchStrategy[bytes]:
    """Return the seed with some of its bytes replaced by others."""
    at = st.integers(0, len(seed))
    return st.builds(lambda start, end, new: seed[:start] + new + seed[max(start, end) :], at, at, st.binary(max_size=8))


def test_every_target_has_a_folder_of_small_seeds() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    assert all(seed.stat().st_size < 10_000 for name in TARGETS for seed in seeds(name))


def test_every_word_is_one_that_libfuzzer_reads() -> None:
    for line in WORDS.read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r'"(\\\\|\\"|\\x[0-9a-f]{2}|[^\\"])+"', line), line


@pytest.mark.parametrize("arguments", [[], ["control"], ["nothing", "1"], ["control", "soon"]])
def test_who_does_not_say_what_and_how_long_is_told(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="TARGET SECONDS"):
        main(arguments)
