"""The tracer of the proxy, where its operator wants spans: it needs the extra `otel`, and an SDK that is set up."""

from cachemw.errors import ConfigurationError
from cachemw.proxy.settings import SETTINGS, Settings
from cachemw.report import Hook


def tracer_of(settings: Settings) -> Hook | None:
    """Return what makes spans; `None` where nobody wants any. Raises `ConfigurationError` where none can be made."""
    if not settings.otel:
        return None
    try:
        from cachemw.otel import Tracer
    except ImportError as exc:
        raise ConfigurationError(f"{SETTINGS['otel'].option} needs more: pip install 'cachemw[otel]'") from exc
    return Tracer()


def refuse_without_sdk(settings: Settings) -> None:
    """Raise `ConfigurationError` where spans are wanted and this process has nothing that they would go to."""
    if tracer_of(settings) is None:
        return
    from cachemw.otel import has_sdk

    if not has_sdk():
        raise ConfigurationError(
            f"{SETTINGS['otel'].option}: no OpenTelemetry SDK is set up in this process:"
            " start it as opentelemetry-instrument cachemw serve, or set one up in a sitecustomize of your own"
        )
