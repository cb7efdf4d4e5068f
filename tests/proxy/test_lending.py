"""Which paths are the API's, and which of them a lent key answers, as a table; in other spellings none is."""

import pytest

from cachemw import ConfigurationError, Policy
from cachemw.proxy.lending import Lent, is_api, lent, lent_paths, takes_uploads, what_is_lent

POLICY = Policy(paths=("/chat/completions", "/assistant/chat"))
NONE = lent_paths(())

API = [
    *(b"/v1/", b"/v1/x", b"/v1/v1/x", b"/v1/files", b"/v1//x", b"/v1/favicon.ico", b"/chat/completions", b"/models"),
    *(b"/openai/v1/chat/completions", b"/assistant/chat", b"/completions", b"/embeddings", b"/moderations", b"/responses"),
    *(b"/messages", b"/messages/count_tokens", b"/rerank", b"/audio/speech", b"/images/edits"),
]
OURS = [
    *(b"", b"/", b"/v1", b"/favicon.ico", b"/docs", b"/metrics", b"/admin", b"/v2/x", b"/V1/x", b"//v1/x", b"/%761/x"),
    *(b"/files", b"/models/m", b"/chat/completions/", b"/chat/completion%73", b"/healthz", b"/robots.txt", b"/xv1/x"),
]


@pytest.mark.parametrize("path", API, ids=repr)
def test_the_api_begins_with_its_version_or_ends_in_an_endpoint(path: bytes) -> None:
    """A8."""
    assert is_api(path, POLICY)


@pytest.mark.parametrize("path", OURS, ids=repr)
def test_all_else_is_ours(path: bytes) -> None:
    """F123, A8."""
    assert not is_api(path, POLICY)


STATELESS = [
    *(b"/v1/chat/completions", b"/chat/completions", b"/v1/v1/chat/completions", b"/v1/assistant/chat", b"/v1/completions"),
    *(b"/v1/embeddings", b"/v1/moderations", b"/v1/rerank"),
    *(b"/v1/audio/speech", b"/v1/audio/transcriptions", b"/v1/audio/translations"),
    *(b"/v1/images/generations", b"/v1/images/edits", b"/v1/images/variations"),
]
STATEFUL = [
    ("GET", b"/v1/files"),
    ("POST", b"/v1/files"),
    ("DELETE", b"/v1/files/file_of_alice"),
    ("GET", b"/v1/chat/completions"),
    ("GET", b"/v1/chat/completions/c1/messages"),
    ("POST", b"/v1/chat/completions/c1"),
    ("GET", b"/v1/responses/resp_of_alice"),
    ("DELETE", b"/v1/responses/resp_of_alice"),
    ("POST", b"/v1/responses/resp_of_alice/cancel"),
    ("POST", b"/v1/responses/compact"),
    ("GET", b"/v1/organization/admin_api_keys"),
    ("POST", b"/v1/batches"),
    ("GET", b"/v1/batches"),
    ("POST", b"/v1/messages/batches"),
    ("GET", b"/v1/messages"),
    ("POST", b"/v1/models"),
    ("DELETE", b"/v1/models/ft:m"),
    ("GET", b"/v1/models/m/permissions"),
    ("POST", b"/v1/tcp_warming"),
    ("PUT", b"/v1/chat/completions"),
    ("OPTIONS", b"/v1/files"),
    ("POST", b"/v1/fine_tuning/jobs"),
    ("POST", b"/v1/threads"),
    ("GET", b"/v1/v1/files"),
    ("GET", b"/v1/"),
]


@pytest.mark.parametrize("path", STATELESS, ids=repr)
def test_a_lent_key_answers_what_keeps_no_state(path: bytes) -> None:
    """A4."""
    assert lent("POST", path, POLICY, NONE) is Lent.YES


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [b"/v1/models", b"/models", b"/v1/models/ft:m", b"/v1/tcp_warming", b"/v1/v1/tcp_warming"])
def test_it_names_the_models(method: str, path: bytes) -> None:
    """A4."""
    assert lent(method, path, POLICY, NONE) is Lent.YES


@pytest.mark.parametrize(("method", "path"), STATEFUL)
def test_it_opens_nothing_that_keeps_state(method: str, path: bytes) -> None:
    """F124, A4."""
    assert lent(method, path, POLICY, NONE) is Lent.NO


BY_BODY = [
    *(b"/v1/responses", b"/responses", b"/v1/v1/responses"),
    *(b"/v1/messages", b"/messages", b"/v1/messages/count_tokens", b"/v1/v1/messages/count_tokens"),
]


@pytest.mark.parametrize("path", BY_BODY, ids=repr)
def test_its_body_says_what_a_response_keeps_or_a_message_builds_on(path: bytes) -> None:
    """A4."""
    assert lent("POST", path, POLICY, NONE) is Lent.BY_BODY
    assert lent("GET", path, POLICY, NONE) is Lent.NO


@pytest.mark.parametrize("path", OURS, ids=repr)
def test_what_goes_nowhere_needs_no_key(path: bytes) -> None:
    """A8: it is told that there is nothing."""
    assert lent("GET", path, POLICY, NONE) is Lent.YES


TRICKS = [
    *(b"/v1/./files", b"/v1//files", b"/v1/files;x", b"/v1/Files", b"/v1/%66iles", b"/v1/v1/v1/files", b"/v1/x/files"),
    *(b"/v1/chat/completions/../files", b"/v1/responses;x", b"/v1/responses/", b"/v1//responses", b"/v1/%72esponses"),
    *(b"/v1/Responses", b"/v1/v1/v1/chat/completions", b"/v1/chat/completions/", b"/v1/chat%2fcompletions", b"/v1/x/responses"),
    *(b"/v1/files/chat/completions", b"/v1/responses/embeddings", b"/v1/%6dessages", b"/v1/./embeddings", b"/x/v1/embeddings"),
]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", TRICKS, ids=repr)
def test_another_spelling_opens_nothing(method: str, path: bytes) -> None:
    """F124, A4: a router behind us may read it in another way than we do."""
    assert lent(method, path, POLICY, NONE) is Lent.NO


@pytest.mark.parametrize("name", ["files", "/files", "v1/files", "/v1/files", "/v1/files/", "files/"])
def test_an_operator_may_open_more(name: str) -> None:
    """A4: with all methods, at the path and below it."""
    opened = lent_paths([name])

    for method in ("GET", "POST", "DELETE"):
        for path in (b"/v1/files", b"/v1/v1/files", b"/v1/files/", b"/v1/files/f1/content"):
            assert lent(method, path, POLICY, opened) is Lent.YES
        for path in (
            b"/v1/filesystem",
            b"/v1/%66iles",
            b"/v1//files",
            b"/v1/./files",
            b"/v1/files;x",
            b"/v1/FILES",
            b"/v1/batches",
        ):
            assert lent(method, path, POLICY, opened) is Lent.NO


def test_responses_that_are_opened_are_not_read() -> None:
    """A4, D9."""
    assert lent("POST", b"/v1/responses", POLICY, lent_paths(["responses"])) is Lent.YES


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "v1",
        "/v1/",
        "//files",
        "files//x",
        "..",
        "files/..",
        ".",
        "*",
        "files?x",
        "%66iles",
        "a b",
        "fil\u00e9s",
        "a;b",
    ],
)
def test_what_is_no_path_cannot_be_opened(name: str) -> None:
    """E7."""
    with pytest.raises(ConfigurationError):
        lent_paths([name])


def test_what_is_lent_can_be_told() -> None:
    told = what_is_lent(POLICY, lent_paths(["v1/files", "batches"]))

    assert "/chat/completions" in told
    assert "store: false" in told
    assert told.endswith("and /batches /files")


@pytest.mark.parametrize("path", [b"/v1/files", b"/v1/audio/speech", b"/images/edits", b"/v1/uploads/u1/parts", b"/v1/files/"])
def test_some_paths_take_files(path: bytes) -> None:
    assert takes_uploads(path)


@pytest.mark.parametrize(
    "path", [b"/v1/responses", b"/v1/%66iles", b"/v1//files", b"/v1/x/files", b"/v1/filesystem", b"/", b""]
)
def test_others_do_not(path: bytes) -> None:
    assert not takes_uploads(path)
