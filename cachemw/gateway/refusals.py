"""The words of a gateway to who is not let to what was asked for: each with a status that SDKs do not try again."""

from cachemw.cache.plans import Closed
from cachemw.endpoints.errors import Refusal
from cachemw.gateway.wishes import InvalidWish

_INVALID = "invalid_request_error"
_SHOWN = 100
"""Characters of a name that a client sent."""


def invalid_wish(wish: InvalidWish) -> Closed:
    """Return the 400 for a `Cachemw-Route` field that cannot be obeyed: nothing is guessed."""
    return Closed(Refusal(400, wish.message, _INVALID, wish.param, "invalid_cachemw_route"))


def no_such_provider(model: str) -> Closed:
    """Return the 404 for a model of a provider that nobody here knows."""
    shown = model[:_SHOWN]
    provider = shown.partition("/")[0]
    message = f"{shown!r} names the provider {provider!r}, which is not known here: [providers.{provider}] adds it"
    return Closed(Refusal(404, message, _INVALID, "model", "model_not_found"))


def not_on_routes(route: str) -> Closed:
    """Return the 404 for a route that was named on a path of no endpoint that is known here."""
    message = f"the route {route!r} answers no calls of this path, which is not known here: name a target, as provider/model"
    return Closed(Refusal(404, message, _INVALID, "model", "model_not_found"))


def not_allowed(client: str, model: str) -> Closed:
    """Return the 403 for a route, or a target, that is not the client's."""
    named = repr(model[:_SHOWN]) if model else "what names no model"
    message = f"the client {client!r} may not use {named}: routes in [clients.{client}] names what it may"
    return Closed(Refusal(403, message, _INVALID, "model", "route_not_allowed"))


def key_expired(client: str) -> Closed:
    """Return the 401 for a client whose time is over."""
    message = f"the key of the client {client!r} has expired: expires in [clients.{client}] says when"
    return Closed(Refusal(401, message, _INVALID, code="key_expired"))


def route_needs_server_keys(route: str) -> Closed:
    """Return the 401 for who brings a provider's key to a route on which it would go to others, too."""
    message = (
        f"the route {route!r} has targets of several providers, and your key is one provider's: send cachemw in its place,"
        " or name a target, as provider/model"
    )
    return Closed(Refusal(401, message, _INVALID, code="route_needs_server_keys"))


def all_off(route: str) -> Closed:
    """Return the 503 for a route of which no target has a key."""
    message = f"no target of the route {route!r} can be asked: their keys are not set"
    return Closed(Refusal(503, message, code="no_target"))
