"""What the proxy is told, by the command line or the environment: every worker reads it there."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from cachemw.core import limits
from cachemw.core.policy import Policy
from cachemw.errors import ConfigurationError

PREFIX = "CACHEMW_"


@dataclass(frozen=True, slots=True)
class Settings:
    """Each of these is `CACHEMW_<NAME>` in the environment. Seconds and bytes."""

    upstream: str = "cerebras"
    dir: str = ""
    default: str = "off"
    partition: str = "credential"
    lifetime: float = limits.LIFETIME
    size_limit: int = limits.STORE_BYTES
    max_record_bytes: int = limits.RECORD_BYTES
    max_request_bytes: int = limits.REQUEST_BYTES

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read them. Raises `ConfigurationError` for a value that is not a number where one is due."""
        given = {field.name: environment.get(PREFIX + field.name.upper()) for field in fields(cls)}
        kinds = {"lifetime": float, "size_limit": int, "max_record_bytes": int, "max_request_bytes": int}
        try:
            return cls(**{name: kinds.get(name, str)(value) for name, value in given.items() if value})
        except ValueError as exc:
            raise ConfigurationError(f"not a number among the CACHEMW_ variables: {exc}") from exc

    def to_environment(self) -> dict[str, str]:
        """Write them for the workers."""
        return {PREFIX + field.name.upper(): str(getattr(self, field.name)) for field in fields(self)}

    def policy(self) -> Policy:
        """Return the operator's policy. Raises `ConfigurationError`."""
        if self.partition not in ("credential", "shared"):
            raise ConfigurationError('the partition is "credential" or "shared"')
        return Policy(
            default=self.default,
            partition="shared" if self.partition == "shared" else "credential",
            lifetime=self.lifetime,
            max_record_bytes=self.max_record_bytes,
            max_request_bytes=self.max_request_bytes,
        )
