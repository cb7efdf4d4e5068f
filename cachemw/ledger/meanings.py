"""The meanings of the details that exchanges have: in the words of `docs/cache-status.md`, which a test compares."""

from collections.abc import Mapping

MEANINGS: Mapping[str, str] = {
    "ambiguous-json": "the request's body can be read in two ways: repeated names, NaN, lone surrogates, a BOM, trailing data, "
    "depth over 64",
    "ambiguous-stream": "`stream` or `stream_options` is neither what it should be nor absent; of Messages `null` is neither, "
    "too",
    "assembled": "a batch of embeddings answers that was put together of parts that are stored",
    "audio": "the request asks for spoken output, which is never cached",
    "background": "a response is to be made in the background, and asked for later",
    "bad-record": "the record was damaged or incomplete, and is deleted (a file of a `FileStore` stays, and the log names it)",
    "broken-block": "not kept: a message's block begins out of turn, goes on without having begun, or does not end",
    "unclosed-block": "not kept: a message's block begins out of turn, goes on without having begun, or does not end",
    "broken-input": "not kept: the input of a tool's call is not one JSON object, often for it was cut at `max_tokens`",
    "busy": "not kept: all responses in progress hold 256 MiB already. Or not read: the bodies of all requests do",
    "client-left": "the client was gone before its answer was whole",
    "container": "the request, or its answer, names a container, which has a state of its own",
    "content-type": "not kept: neither JSON nor an event stream, whichever was asked for",
    "context-management": "the provider is to shorten the conversation, as it sees fit",
    "conversation": "a response builds on a conversation that the provider keeps",
    "empty-answer": "not kept: a message, or a response, says nothing",
    "empty-choice": "not kept: a choice has no content, call, refusal or reasoning",
    "encoded-answer": "not kept: it has a content coding that nobody asked for",
    "encoded-request": "the request's body has a content coding",
    "error-answer": "not kept: it is an error in spite of its status 200, or has one in its stream or in a choice",
    "error-event": "not kept: it is an error in spite of its status 200, or has one in its stream or in a choice",
    "estimated": "tokens were counted by us, for an upstream that cannot",
    "event-after-done": "not kept: something came behind `[DONE]`, or behind the event that ends a message or a response",
    "file": "the request names a file that lies at the provider, and may be another tomorrow",
    "finish-": "not kept: that finish reason is not in `Policy.store_when`, or it is `length` where the caller set no limit",
    "ignored-": "this member, of `Cachemw` or `Cachemw-Route`, or `cache-control`, was not obeyed",
    "incomplete": "not kept: it broke off, or its stream has no `[DONE]`, or no `message_stop`",
    "invalid-cachemw": "400: the control header cannot be obeyed",
    "invalid-head": "502: the head of the answer cannot be passed on",
    "invalid-json": "the request's body is not JSON",
    "invalid-path": "400: the path leaves the API, or no request can carry it; not sent on",
    "item-reference": "a response builds on an item that the provider keeps",
    "kept-out": "not kept: the wrapped app sent `Cachemw: off`",
    "key-mismatch": "another request's record has this index, and its proof differs",
    "max-stale": "a stale record answers, for the request said so",
    "mcp-servers": "the provider is to ask MCP servers, which may say something else each time",
    "missing-choice": "not kept: it has fewer choices, vectors or results than are due, or others",
    "mixed-events": "not kept: the events of a response are not numbered one after the other, or are those of two",
    "mode-read": "not kept: the request said `mode=read`",
    "no-end": "not kept: the upstream's body did not end after `[DONE]`, or `message_stop`",
    "no-hedge": "a race or a hedge was asked for, and the route has none, or none left; or this mount asks one target "
    "after the other",
    "no-input": "the request lacks what its endpoint needs: an `input`, or a stored `prompt` of a response, `documents` "
    "and a `query`, or `messages`",
    "no-key": "401: the provider takes a key, and neither the operator nor the caller has one",
    "no-max-tokens": "the request for a message has no `max_tokens`",
    "no-message": "not kept: the answer is no message",
    "no-messages": "the request is no object with a list of `messages`",
    "no-partition": "nobody can tell who asks: the store's secret cannot be read, `Policy.partition` raised, or the app knows "
    "its user and did not say who",
    "no-prompt": "the completion has no `prompt`, or a list of which it is not clear how many prompts it holds",
    "no-start": "not kept: the stream of a message does not begin with `message_start`, or does so twice",
    "second-start": "not kept: the stream of a message does not begin with `message_start`, or does so twice",
    "no-store": "not kept: the request said `Cache-Control: no-store`",
    "no-usage": "usage is due, and was not recorded, so the provider was asked. Or not kept: it did not come",
    "not-200": "not kept: the upstream gave another status",
    "not-cached": "504: only the store was allowed to answer, and cannot",
    "not-in-parts": "not kept: the answer to some inputs of embeddings says more than vectors, a model and usage, so that no "
    "answer to all can be made of it; then all were asked for",
    "not-iterated": "not kept: the wrapped WSGI app sent it with `write()`, or as a file",
    "not-json": "the request's media type is not JSON",
    "not-routed": "there are routes, and the body does not say in one way which model is asked; it went to the default "
    "provider",
    "other-dialect": "what is stored cannot be said in the client's API, of two; the provider was asked",
    "other-kind": "the record is JSON and a stream was asked for, or the reverse, and it cannot be converted without loss; "
    "the provider was asked",
    "other-path": "the request is of an API that is not cached",
    "partial-unfit": "what the provider said of some inputs did not fit what is known of the others, in its model, say, or its "
    "usage; so it was asked for all",
    "partial-": "`partial-17-of-64`: 17 of 64 inputs were known, and only the others were asked for",
    "previous-response": "a response builds on one before, which the provider keeps",
    "prompt-version": "a stored prompt is named without its version, and may be another tomorrow",
    "purged": "not kept: there was a purge since this was asked for",
    "record-too-large": "not kept: over 16 MiB, or the store's own limit",
    "replay": "a stale record answers, for the request said `mode=replay`",
    "request-too-large": "the request's body is over 10 MiB",
    "second-choice": "another target answered than the one that was asked first",
    "server-tool": "a tool that the provider runs is in the request, or ran for the answer: it may find something else each "
    "time",
    "stale-if-error": "a stale record answers: the upstream failed",
    "stale-while-revalidate": "a stale record answers, and the upstream is being asked anew",
    "store-failed": "the store could not keep the answer",
    "store-requested": "the request says `store: true`: the provider is to keep the answer, and of a hit it would keep nothing",
    "store-slow": "the store did not answer within 50 ms; what it was given it may keep all the same",
    "store-unreadable": "the store did not answer",
    "superseded": "not kept: an answer is stored that was asked for later",
    "thread": "a message goes on in a thread, which the provider keeps",
    "timeout": "504: the upstream took too long",
    "too-complex": "the request's body takes too long to read: 130,000 bytes outside of strings, a million escapes, 2,000 "
    "numbers with long exponents. Or not kept: the answer does, or has 260,000 lines",
    "transcoded": "stored as JSON and asked for as a stream, or the reverse, or with other `stream_options`",
    "truncated": "the upstream broke off its answer",
    "two-framings": "502: the answer's head has both a `Content-Length` and a `Transfer-Encoding`",
    "unfinished-answer": "not kept: a message has no stop reason",
    "unfinished-choice": "not kept: a choice has no finish reason",
    "unreachable": "502: the upstream gave no head",
    "unreadable-answer": "not kept: it is not the JSON of an answer of this API",
    "unreadable-event": "not kept: it is not the JSON of an answer of this API",
    "was-": "why the last answer to this request was not kept: `was-incomplete`, `was-record-too-large`, …",
    "web-search": "the request searches the web, and its answer changes with it",
}
"""The meaning of each detail; of one that ends in a hyphen, of every detail that begins so."""

_WAS = "was-"
_NOT_KEPT = "not kept: "


def meaning_of(detail: str) -> str:
    """Return what a detail means, in words; the detail itself where nobody knows it."""
    if detail.startswith(_WAS):
        return f"the last answer to this request was not kept: {meaning_of(detail.removeprefix(_WAS)).removeprefix(_NOT_KEPT)}"
    known = MEANINGS.get(detail) or next((MEANINGS[name] for name in _BEGINNINGS if detail.startswith(name)), None)
    return known or detail


_BEGINNINGS = tuple(name for name in MEANINGS if name.endswith("-"))
