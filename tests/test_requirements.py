"""No requirement is lost with the test that named it: what docstrings under `tests/` have once named, some docstring names.

`A` and `I` say whose answer it is and who may have it, `B` how the house is built, `C` what is recalled, `D` what a store
does, `E` ease, `G` what a gateway does, `H` HTTP, `K` the key, `O` operating it, `P` load, `R` what is stored, `S` streams, and
slow or malicious clients, `T` the bugs of others in endpoints and translation, `V` speed. The faults, `F`, are in
`tests/faults/found.py`; what was ruled of endpoints and translation has numbers of that letter, too, so that a docstring says
`ruling F2`.
"""

from tests.docstrings import named, named_rulings

REQUIREMENTS = set(
    """
    A1 A2 A3 A4 A5 A6 A7 A8 A9
    B1 B2 B4 B5
    C1 C2 C3 C4 C5 C6 C7
    D1 D2 D3 D4 D5 D6 D7 D8 D9 D10
    E1 E2 E3 E4 E5 E6 E7 E8 E9 E10 E11 E12 E13
    G1 G2 G3 G4 G5 G6 G7 G8 G9 G10 G11 G12 G13 G14 G15 G16 G17 G18 G19 G20 G21 G22 G23 G24 G25 G26
    H1 H2 H3 H4 H6 H7 H8 H9 H10 H11
    I1 I2 I3 I4 I5 I6 I7 I8 I9 I10 I11 I12 I13 I14 I15 I16 I18 I24 I28
    K1 K2 K3 K4 K5 K6 K7 K8 K9 K10
    O1 O2 O3 O4 O5 O6 O7 O8
    P1 P2 P3 P4 P5
    R1 R1b R2 R3 R4 R5 R6 R7 R8 R9 R12 R14 R17
    S1 S2 S3 S4 S5 S6 S7 S8 S9 S11 S12 S13 S16
    T1 T2 T3 T4 T5 T6 T7 T8 T9 T10 T11 T12 T13 T14 T15 T16 T17 T18 T19 T20 T21 T22 T23 T24 T25 T26 T27 T28 T29
    V1 V2 V4
    """.split()
)

RULINGS = {"F1", "F2", "F3", "F4", "F5", "F6", "F7"}
"""What was ruled of endpoints and translation: what an upstream speaks; kinds, and whose call it is; what cannot be said; names
that become one; what a record holds of the request; parts; and responses."""


def test_every_requirement_is_named_by_a_test_and_none_is_named_that_is_not_in_the_table() -> None:
    assert {name for ids in named().values() for name in ids if not name.startswith("F")} == REQUIREMENTS


def test_every_ruling_of_endpoints_and_translation_is_named_by_a_test() -> None:
    assert named_rulings() == RULINGS
