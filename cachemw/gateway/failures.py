"""Tell how an attempt failed: by its response, by an error within one, or by what the upstream raised."""

from cachemw.gateway.failure_kinds import Failure, FailureKind, ScopeKind

__all__ = ["Failure", "FailureKind", "ScopeKind"]
