"""One record, every kind of its answer: JSON of a stream, a stream of JSON, a stream with other options."""

from cachemw.endpoints.chat.transcode.kinds import derive
from cachemw.endpoints.chat.transcode.reading import NO_USAGE
from cachemw.endpoints.deriving import OTHER_KIND

__all__ = ["NO_USAGE", "OTHER_KIND", "derive"]
