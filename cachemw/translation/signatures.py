"""Signatures of thinking that no Anthropic model signed: the same for the same text, and known again when they come back."""

import base64
import hashlib
import re

_OURS = "cachemw.1."
_LENGTH = 32
_OUR_SIGNATURE = re.compile(re.escape(_OURS) + rf"[A-Za-z0-9_-]{{{_LENGTH}}}")


class Signer:
    """Signs one thinking block, which comes piece by piece."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def take(self, text: str) -> None:
        """Take in a piece of the text."""
        self._digest.update(text.encode())

    def signature(self) -> str:
        """Return the signature of all that was taken in."""
        return _OURS + base64.urlsafe_b64encode(self._digest.digest()).decode()[:_LENGTH]


def signature_of(text: str) -> str:
    """Return the signature of a whole thinking block."""
    signer = Signer()
    signer.take(text)
    return signer.signature()


def is_our_signature(text: str) -> bool:
    """Say whether a signature is one of these: no Anthropic model takes it, and its text is a Chat upstream's reasoning."""
    return _OUR_SIGNATURE.fullmatch(text) is not None
