"""Which cookies of a request through a transport say who asks: its client's jar sends back whatever an upstream set."""

from cachemw.core.messages import Head, Headers, Request, header_values

EDGE_COOKIES = frozenset(
    b"__cf_bm _cfuvid __cflb __cfruid __cfseq cf_clearance AWSALB AWSALBCORS AWSALBTG AWSALBTGCORS".split()
)
"""By which networks before an upstream know a client again, and send it to the same machine: they say nothing of who asks."""


class Cookies:
    """Those that came with answers to chat requests; they and those of an upstream's edge are not in the key."""

    LIMIT = 1024

    def __init__(self) -> None:
        self._pairs: dict[bytes, None] = {}

    def note(self, asked: Request, head: Head) -> None:
        """Remember what an answer sets, unless it was to no chat request; the oldest are forgotten."""
        for value in header_values(head.headers, b"set-cookie") if isinstance(asked.body, bytes) else ():
            self._pairs[value.partition(b";")[0].strip()] = None
            if len(self._pairs) > self.LIMIT:
                self._pairs.pop(next(iter(self._pairs)), None)

    def left_out(self, headers: Headers) -> Headers:
        """Return the fields without them; what is left stays as it is."""
        return tuple([field for name, value in headers for field in self._kept(name, value)])

    def _kept(self, name: bytes, value: bytes) -> Headers:
        if name.lower() != b"cookie":
            return ((name, value),)
        cookies = [cookie.strip() for cookie in value.split(b";")]
        kept = [one for one in cookies if one not in self._pairs and one.partition(b"=")[0] not in EDGE_COOKIES]
        return ((name, b"; ".join(kept)),) if kept else ()
