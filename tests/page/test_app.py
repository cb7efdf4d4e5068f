"""The page over HTTP: what it says to whom, with which header fields, and how rows come."""

import json
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import httpx
import pytest

from cachemw.cache import record as codec
from cachemw.inventory.answers import answer_text
from cachemw.ledger.ledger import Ledger
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import rows
from cachemw.ledger.schema import NOT_WRITTEN, SUMS
from cachemw.metrics.slots import WorkerSlot
from cachemw.metrics.sums import SlotRecord, encode
from cachemw.metrics.table import FLIGHT_BYTES, FLIGHTS
from cachemw.page.admission import PageRules
from cachemw.page.app import PageApp
from cachemw.page.traffic import TICK_ROWS
from cachemw.report import ExchangeReport
from cachemw.stores import DiskStore
from tests.page.scenery import WhenClosed, asks, furnish
from tests.page.showing import TOKEN, add, asking, shell_of, some_key
from tests.serving import serving_in_thread

VIEWS = ("/", "/traffic", "/misses", "/why", "/store", "/spend")
HTML = {"accept": "text/html"}
PATHS = (*VIEWS, "/live", "/metrics", "/record/" + "0" * 32, "/why/1", "/nowhere", "/store/purge", "/page.css")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_without_the_token_there_is_nothing_but_a_form_for_it(
    stranger: httpx.Client, day: Path, path: str, accept: str
) -> None:
    """O8."""
    answer = stranger.get(path, headers={"accept": accept})

    assert answer.status_code == (200 if (path, accept) == ("/", "text/html") else 401)
    assert "www-authenticate" in answer.headers or "<form" in answer.text
    assert not any(word in answer.text for word in ("gpt-oss", "support-bot", "7 days", str(day), some_key(day)[:8]))
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "fields",
    [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}],
    ids=lambda fields: next(iter(fields.values())),
)
def test_nothing_is_said_to_a_foreign_host_or_origin_though_it_has_the_token(
    client: httpx.Client, path: str, fields: dict[str, str]
) -> None:
    """O8."""
    answers = [client.get(path, headers={**HTML, **fields}), client.post("/session", data={"token": TOKEN}, headers=fields)]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert all(len(answer.text) < 120 and "set-cookie" not in answer.headers for answer in answers)


def test_the_token_is_traded_for_a_cookie_that_scripts_cannot_read(stranger: httpx.Client) -> None:
    """O8."""
    answer = stranger.post("/session", data={"token": f" {TOKEN} "})

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert cookie.endswith("; HttpOnly; Path=/; SameSite=strict")
    assert TOKEN not in cookie
    assert stranger.get("/traffic").status_code == 200


def test_behind_tls_the_cookie_travels_over_that_alone(stranger: httpx.Client) -> None:
    fields = {"origin": "https://localhost", "host": "localhost"}

    assert "; Secure" in stranger.post("/session", data={"token": TOKEN}, headers=fields).headers["set-cookie"]


@pytest.mark.parametrize("body", [b"", b"token=", b"token=wrong", b"token=" + b"x" * 20_000, b"\xff", b"a=1&" * 100])
def test_what_is_not_the_token_is_told_so(stranger: httpx.Client, body: bytes) -> None:
    """O8."""
    answer = stranger.post("/session", content=body)

    assert answer.status_code == 401
    assert "This is not the token of this page" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/nowhere", "/metrics", "/session", "/why/999999", "/record/x"])
def test_every_answer_says_what_may_be_done_with_it(client: httpx.Client, path: str) -> None:
    """O8: nothing is loaded but what stands in the page itself, nobody may show it in a frame, and nobody keeps it."""
    headers = client.get(path, headers=HTML).headers

    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    kept = ("x-content-type-options", "referrer-policy", "cache-control", "cross-origin-opener-policy")
    assert [headers[name] for name in kept] == ["nosniff", "same-origin", "no-store", "same-origin"]


@pytest.mark.parametrize("path", [*VIEWS, "/why/1", "/nowhere"])
def test_a_page_has_one_nonce_and_nothing_that_needs_more(client: httpx.Client, path: str) -> None:
    """O8: under its policy no style attribute and no handler would work, and there is none."""
    first, second = (client.get(path, headers=HTML) for _ in range(2))

    nonces = [set(re.findall(r"'nonce-([^']+)'", answer.headers["content-security-policy"])) for answer in (first, second)]
    assert [len(some) for some in nonces] == [1, 1]
    assert nonces[0] != nonces[1]
    (nonce,) = nonces[0]
    assert re.findall(r"<(?:script|style)[^>]*>", first.text) == [f'<style nonce="{nonce}">', f'<script nonce="{nonce}">']
    assert not re.search(r"<[^>]+ (?:style|on\w+)=", first.text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", first.text)


def test_no_get_changes_anything(client: httpx.Client, day: Path) -> None:
    before = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(day.glob("cache.db*"))]

    for path in (*VIEWS, f"/record/{some_key(day)}", "/why/1", "/store/purge", "/session", "/metrics"):
        client.get(path)

    assert [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(day.glob("cache.db*"))] == before


SAID = {
    "/": ("From the store", "Time saved", "per 15"),
    "/?since=1h": ("in the last 1 hour",),
    "/traffic": ("gpt-oss-120b", "support-bot", "why"),
    "/traffic?model=gpt-5*&outcome=miss": ("gpt-5.4-mini",),
    "/traffic?model=nosuch": ("No exchange fits this filter",),
    "/misses": ("messages[1]", "Near misses"),
    "/why": ("Why the last miss", "Last misses"),
    "/store": ("qwen-3-32b", "Purge everything"),
    "/store?model=gpt-oss*": ("Purge these",),
    "/store?model=nosuch": ("No record fits this filter", "cachemw ls --model nosuch"),
    "/spend": ("By client", "docs-search", "in all"),
    "/spend?by=target": ("By target", "cerebras/gpt-oss-120b"),
    "/spend?by=day&since=30d": ("By day", "2026-" if time.gmtime().tm_year == 2026 else "20"),
}


@pytest.mark.parametrize("path", SAID)
def test_a_view_shows_what_it_is_for(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 200
    assert [word for word in SAID[path] if word not in answer.text] == []


FAULTS = {
    "/traffic?newer-than=soon": 400,
    "/traffic?outcome=luck": 400,
    "/store?older-than=x": 400,
    "/live?newer-than=soon": 400,
    "/why/999999": 404,
    "/why/zzzz": 404,
    "/why?of=999999": 404,
    "/record/xyz": 404,
    f"/record/{'0' * 32}": 404,
    "/nowhere": 404,
}


@pytest.mark.parametrize(("path", "status"), FAULTS.items())
def test_what_is_not_there_is_said(client: httpx.Client, path: str, status: int) -> None:
    answer = client.get(path)

    assert answer.status_code == status
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/", "/misses", "/spend"])
def test_where_exchanges_were_lost_figures_are_at_least_these(own: tuple[Path, httpx.Client], path: str) -> None:
    """G1."""
    directory, client = own
    before = client.get(path).text
    minute, zeros = int(time.time()) // 60, ", 0" * (len(SUMS) - 1)
    with closing(sqlite3.connect(directory / "ledger.db")) as ledger, ledger:
        ledger.execute(f"INSERT INTO minutes VALUES ({minute}, '', '', '', '', '', '{NOT_WRITTEN}', 7{zeros})")

    assert "at least</strong>" not in before
    assert "could not write down 7 requests of this span, so all figures are <strong>at least" in client.get(path).text


def test_answers_in_progress_are_told_where_workers_are_alive(own: tuple[Path, httpx.Client]) -> None:
    directory, client = own
    before = client.get("/").text
    slot = WorkerSlot(directory)
    sums = slot.take()
    assert sums is not None
    slot.write(encode(SlotRecord(slot.boot, sums, {(FLIGHTS.name,): 3.0, (FLIGHT_BYTES.name,): 1_500.0})))

    after = client.get("/").text
    slot.release()

    assert "In progress" not in before
    assert re.search(r'In progress</dt><dd class="value">3</dd><dd class="note">1.5\u202fkB, in 1 worker<', after)


def test_a_record_says_what_it_is_and_what_it_was_good_for(client: httpx.Client, day: Path) -> None:
    key = some_key(day)

    text = client.get(f"/record/{key}").text

    assert all(word in text for word in ("Hits so far", "Took its upstream", "cerebras/", "was not kept"))
    with closing(DiskStore(day)) as store:
        encoded = store.read_only().get(bytes.fromhex(key))
    assert encoded is not None
    assert answer_text(codec.decode(encoded))[:60] in text


def test_an_empty_directory_says_what_to_do(tmp_path: Path) -> None:
    """And nothing is made there."""
    with shell_of(tmp_path / "none") as shell, serving_in_thread(PageApp(shell)) as url, asking(url) as client:
        told = {path: client.get(path) for path in (*VIEWS, "/metrics", "/why/1", f"/record/{'0' * 32}")}
        tried = client.post("/store/purge", data={"seal": PageRules(TOKEN).seal("purge", "try")})

    assert [told[path].status_code for path in (*VIEWS, "/metrics")] == [200] * (len(VIEWS) + 1)
    assert all("<pre>cachemw " in told[path].text for path in VIEWS)
    assert "This would remove nothing" in tried.text
    assert not (tmp_path / "none").exists()


def test_a_ledger_that_cannot_be_read_is_said_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all, but long enough to be looked at" * 40)

    with shell_of(tmp_path) as shell, serving_in_thread(PageApp(shell)) as url:
        answer = httpx.get(url, headers={"authorization": f"Bearer {TOKEN}", **HTML}, trust_env=False)

    assert answer.status_code == 503
    assert "This cannot be shown just now" in answer.text


# Rows as they come.


@pytest.fixture
def own(day: Path, tmp_path: Path) -> Iterator[tuple[Path, httpx.Client]]:
    """A copy of the day, and a client of its page."""
    directory = tmp_path / "own"
    shutil.copytree(day, directory)
    ended: list[bool] = []
    with (
        shell_of(directory, is_ending=lambda: bool(ended)) as shell,
        serving_in_thread(PageApp(shell)) as url,
        asking(url) as client,
    ):
        yield directory, client
        ended.append(True)


def events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        else:
            if "data" in event:
                yield event
            event = {}


def last_place_of(directory: Path) -> int:
    with closing(LedgerReader(directory)) as reader:
        return rows(reader, limit=1)[0].place


def test_rows_come_as_they_are_written_and_who_comes_again_goes_on(own: tuple[Path, httpx.Client]) -> None:
    """O8: at most so many rows at once, and the number of the others."""
    directory, client = own
    last = last_place_of(directory)

    with client.stream("GET", f"/live?after={last}") as answer:
        came = events(answer.iter_lines())
        add(directory, 1, model="first")
        first = next(came)
        add(directory, TICK_ROWS + 30, model="many")
        second = next(came)
    add(directory, 2, model="missed")
    with client.stream("GET", f"/live?after={last}", headers={"last-event-id": second["id"]}) as answer:
        third = next(events(answer.iter_lines()))

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [int(event["id"]) - last for event in (first, second, third)] == [1, TICK_ROWS + 31, TICK_ROWS + 33]
    told = [json.loads(event["data"]) for event in (first, second, third)]
    assert [(len(each["rows"]), each["left_out"], each["rows"][0]["model"]) for each in told] == [
        (1, 0, "first"),
        (TICK_ROWS, 30, "many"),
        (2, 0, "missed"),
    ]
    assert [int(row["place"]) - last for row in told[2]["rows"]] == [TICK_ROWS + 33, TICK_ROWS + 32]
    assert [int(told[1]["rows"][place]["place"]) - last for place in (0, -1)] == [TICK_ROWS + 31, 32]


def test_a_filter_holds_for_rows_that_come(own: tuple[Path, httpx.Client]) -> None:
    directory, client = own

    with client.stream("GET", f"/live?after={last_place_of(directory)}&model=wan*") as answer:
        came = events(answer.iter_lines())
        add(directory, 3, model="other")
        add(directory, 1, model="wanted")
        told = json.loads(next(came)["data"])

    assert [row["model"] for row in told["rows"]] == ["wanted"]


def test_a_ledger_that_begins_anew_is_followed(own: tuple[Path, httpx.Client]) -> None:
    directory, client = own

    with client.stream("GET", f"/live?after={last_place_of(directory)}") as answer:
        came = events(answer.iter_lines())
        for path in directory.glob("ledger.db*"):
            path.unlink()
        add(directory, 1, model="anew")
        told = json.loads(next(came)["data"])

    assert [row["model"] for row in told["rows"]] == ["anew"]


# The purge.


def seal_in(text: str) -> str:
    (seal,) = set(re.findall(r'name="seal" value="([0-9a-f]+)"', text))
    return str(seal)


def count_of(directory: Path) -> int:
    with closing(DiskStore(directory)) as store:
        return store.count() or 0


def test_a_purge_is_tried_first_and_then_removes_what_it_said(own: tuple[Path, httpx.Client]) -> None:
    """O6: the dry run changes no byte of the store, and its number is what is then removed."""
    directory, client = own
    before = count_of(directory)
    bytes_before = (directory / "cache.db").read_bytes()
    form = {"model": "gpt-oss*", "seal": seal_in(client.get("/store?model=gpt-oss*").text)}

    tried = client.post("/store/purge", data=form)

    (told,) = re.findall(r"This would remove ([0-9,]+) record", tried.text)
    assert "Nothing was removed yet" in tried.text
    assert "in the last 24 hours" in tried.text
    assert (directory / "cache.db").read_bytes() == bytes_before

    removed = client.post("/store/purge", data=hidden_in(tried.text))

    assert f"{told} records were removed" in removed.text
    assert count_of(directory) == before - int(told)
    with closing(DiskStore(directory)) as store:
        left = [codec.decode(record) for _, record in store.scan()]
    assert left
    assert not any((stored.model or "").startswith("gpt-oss") for stored in left)


def test_a_purge_takes_the_form_that_was_tried_and_no_other(own: tuple[Path, httpx.Client]) -> None:
    """O8: nothing is removed by a form that this page did not write, nor by one that was tried with another filter."""
    directory, client = own
    before = count_of(directory)
    seal = seal_in(client.get("/store").text)
    tried = hidden_in(client.post("/store/purge", data={"model": "gpt-5*", "seal": seal}).text)
    session = PageRules("another-token-of-thirty-two-chars").seal("purge", "remove", "1.0", "")

    forms: list[dict[str, str]] = [
        {},
        {"seal": "0" * 64},
        {"seal": session, "tried_at": "1.0"},
        {"seal": TOKEN},
        {**tried, "model": "qwen*"},
        {**tried, "model": ""},
        {**tried, "tried_at": "9e9"},
        {**tried, "tried_at": ""},
    ]
    for form in forms:
        assert client.post("/store/purge", data=form).status_code == 403
    assert client.post("/store/purge", content=b"seal=" + b"x" * 20_000).status_code == 400
    assert client.post("/store/purge", data={"seal": seal, "older-than": "x"}).status_code == 400
    assert client.get("/store/purge").status_code == 405

    assert count_of(directory) == before


def test_a_purge_takes_what_it_said_though_time_goes_on(day: Path, tmp_path: Path) -> None:
    """What has become old in between stays; and what was tried long ago is tried again."""
    directory = tmp_path / "own"
    shutil.copytree(day, directory)
    before, times = count_of(directory), [time.time()]
    with shell_of(directory, clock=lambda: times[0]) as shell, serving_in_thread(PageApp(shell)) as url, asking(url) as client:
        form = {"older-than": "2h", "seal": seal_in(client.get("/store").text)}
        tried = hidden_in(client.post("/store/purge", data=form).text)
        times[0] += 4_000
        again = client.post("/store/purge", data=tried)
        (told,) = re.findall(r"This would remove ([0-9,]+) record", again.text)
        times[0] += 3_500
        removed = client.post("/store/purge", data=hidden_in(again.text))
        would_be = client.post("/store/purge", data=form).text

    assert f"{told} records were removed" in removed.text
    assert count_of(directory) == before - int(told)
    assert "This would remove" in would_be


def hidden_in(text: str) -> dict[str, str]:
    """Return the members of the form that removes."""
    return dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', text))


def test_one_record_is_purged_from_its_own_page(own: tuple[Path, httpx.Client]) -> None:
    directory, client = own
    key = some_key(directory)
    tried = client.post("/store/purge", data={"key": key, "seal": seal_in(client.get(f"/record/{key}").text)})

    client.post("/store/purge", data=hidden_in(tried.text))

    assert "Nothing is stored under this key" in client.get(f"/record/{key}").text


def test_a_damaged_record_is_said_and_can_be_purged(own: tuple[Path, httpx.Client]) -> None:
    directory, client = own
    key = some_key(directory)
    with closing(DiskStore(directory)) as store:
        store.put(bytes.fromhex(key), b"no record", None)

    text = client.get(f"/record/{key}").text
    tried = client.post("/store/purge", data={"key": key, "seal": seal_in(text)})

    assert "is damaged: nothing can be read of it" in text
    assert "This would remove 1 record" in tried.text
    assert "damaged</span>" in client.get("/store?damaged=1").text


# What nobody may read there.


def runs(text: str) -> set[str]:
    return {text[place : place + 16] for place in range(len(text) - 15)}


def test_no_view_shows_what_was_said_or_who_pays(client: httpx.Client, day: Path) -> None:
    """O3: not 16 characters of a prompt or a credential on any view, nor of an answer but on that of its record."""
    every = list(asks(150, Random(17)))
    said = set[str]()
    for ask in every:
        texts = [turn["content"] for turn in ask.body.get("messages", ())] + list(ask.body.get("input", ()))
        said |= {run for text in texts for run in runs(text)} | runs(f"Bearer sk-of-{ask.client}")
    answers = set[str]()
    with closing(DiskStore(day)) as store:
        for _, encoded in store.scan():
            if (stored := codec.decode(encoded)).endpoint == "chat":
                answers |= runs(answer_text(stored))
    with closing(LedgerReader(day)) as reader:
        places = [row.place for row in rows(reader, limit=200)][::7]
    paths = (*VIEWS, *SAID, "/metrics", *(f"/why/{place}" for place in places))

    shown = {path: runs(client.get(path).text) for path in paths}
    seal = seal_in(client.get("/store").text)
    shown["purge"] = runs(client.post("/store/purge", data={"seal": seal}).text)

    assert len(said) > 400
    assert len(answers) > 1_000
    assert {path: found for path, some in shown.items() if (found := some & (said | answers))} == {}
    assert runs(client.get(f"/record/{some_key(day)}").text) & said == set()


def test_kept_requests_are_shown_side_by_side(tmp_path: Path) -> None:
    """O5: and only where both were kept."""
    furnish(tmp_path, time.time(), count=60, keep=True)
    with shell_of(tmp_path) as shell, serving_in_thread(PageApp(shell)) as url, asking(url) as client:
        text = client.get("/why").text
        record = client.get(f"/record/{some_key(tmp_path)}").text

    assert "Side by side" in text
    assert "<ins><code>" in text
    assert "Be strict." in record


def test_names_that_somebody_chose_are_text_and_nothing_else(own: tuple[Path, httpx.Client]) -> None:
    """O8: markup in a model's name, or a client's, is shown and not obeyed; nor is what turns the direction of writing."""
    directory, client = own
    name = '"><script>alert(1)</script>\u202e'
    add(directory, 1, model=name, client=name, target=name, route=name)

    texts = [
        client.get(path).text
        for path in ("/", "/traffic", "/spend?by=model", "/spend?by=client", f"/why/{last_place_of(directory)}")
    ]

    assert all("&lt;script&gt;alert(1)" in text for text in texts)
    assert not any("<script>alert" in text or "\u202e" in text for text in texts)


def test_rows_of_all_sorts_are_shown(own: tuple[Path, httpx.Client]) -> None:
    """A row of which the ledger knows nothing but that it was is no fault of the page."""
    directory, client = own
    with closing(Ledger(directory, WhenClosed())) as ledger:
        ledger(ExchangeReport())

    assert [client.get(path).status_code for path in ("/", "/traffic", f"/why/{last_place_of(directory)}")] == [200] * 3
