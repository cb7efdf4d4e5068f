"""Tests of the translation of calls and of their answers."""
