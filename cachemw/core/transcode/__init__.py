"""One record, every kind of its answer: JSON of a stream, a stream of JSON, a stream with other options."""

from cachemw.core.transcode.kinds import derive
from cachemw.core.transcode.loss import NO_USAGE, OTHER_KIND

__all__ = ["NO_USAGE", "OTHER_KIND", "derive"]
