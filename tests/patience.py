"""Limits under which a busy machine is no slow store."""

from cachemw import Limits

PATIENT = Limits(store_patience=5.0, store_opening=5.0)
