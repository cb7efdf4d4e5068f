"""The page in a real Chromium: what people see there, and that nothing is missing under its policy (O8)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from cachemw.page.app import PageApp
from tests.page.showing import TOKEN, add, shell_of, some_key
from tests.serving import serving_in_thread

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

CHROMIUM = os.environ.get("TESTS_CHROMIUM", "/usr/bin/chromium")
VIEWS = ("/", "/traffic", "/misses", "/why", "/store", "/spend")

if not Path(CHROMIUM).exists():
    pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium", allow_module_level=True)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass(slots=True)
class Seen:
    """A tab, and what its console said."""

    tab: Page
    url: str
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.tab.goto(self.url + path)
        self.tab.locator("h1, h2").first.wait_for()
        return self.tab


@contextmanager
def seeing(
    browser: Browser, url: str, *, scheme: Literal["light", "dark"] = "light", width: int = 1280, logs_in: bool = True
) -> Iterator[Seen]:
    """Open a tab that has traded the token, and hold its console silent to the end."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    seen = Seen(context.new_page(), url)
    seen.tab.set_default_timeout(15_000)
    seen.tab.on("console", lambda message: seen.faults.append(message.text) if message.type == "error" else None)
    seen.tab.on("pageerror", lambda error: seen.faults.append(str(error)))
    try:
        if logs_in:
            seen.tab.goto(f"{url}/#t={TOKEN}")
            seen.tab.locator("header nav").wait_for()
        yield seen
        assert seen.faults == []
    finally:
        context.close()


@pytest.fixture
def own(day: Path, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A copy of the day, and the URL of its page."""
    directory = tmp_path / "own"
    shutil.copytree(day, directory)
    ended: list[bool] = []
    with shell_of(directory, is_ending=lambda: bool(ended)) as shell, serving_in_thread(PageApp(shell)) as url:
        yield directory, url
        ended.append(True)


def test_the_address_with_the_token_logs_in_and_loses_the_token(chromium: Browser, page: str) -> None:
    """O8: it stands neither in the address nor in the page any more."""
    with seeing(chromium, page) as seen:
        assert seen.tab.url == f"{page}/"
        assert TOKEN not in seen.tab.content()
        assert TOKEN not in str(seen.tab.context.cookies())
        assert [cookie["httpOnly"] for cookie in seen.tab.context.cookies()] == [True]
        assert "cachemw-page" not in str(seen.tab.evaluate("document.cookie"))


def test_the_address_may_be_opened_where_the_form_is_open_already(chromium: Browser, page: str) -> None:
    """A browser does not load a page anew of whose address only the end is another one."""
    with seeing(chromium, page, logs_in=False) as seen:
        seen.tab.goto(page)
        seen.tab.get_by_label("Token").wait_for()
        seen.tab.goto(f"{page}/#t={TOKEN}")
        seen.tab.get_by_role("heading", name="Now", exact=True).wait_for()


def test_a_wrong_token_is_told_so_and_the_right_one_may_be_typed(chromium: Browser, page: str) -> None:
    """O8: also for who has the view's own address and no session yet."""
    with seeing(chromium, page, logs_in=False) as seen:
        seen.tab.goto(f"{page}/#t=wrong-wrong-wrong-wrong-wrong-wrong")
        seen.tab.get_by_role("alert").wait_for()
        assert "t=wrong" not in seen.tab.url
        seen.faults.clear()  # that the server said 401 is in the console
        seen.tab.get_by_label("Token").fill(TOKEN)
        seen.tab.get_by_role("button", name="Log in").click()
        seen.tab.get_by_role("heading", name="Now", exact=True).wait_for()


SHOWN = {
    "/": ("From the store", "Tokens saved", "Time to the whole answer", "Latest", "gpt-oss-120b"),
    "/traffic": ("Newer than", "support-bot", "text-embedding-3-small"),
    "/misses": ("Near misses", "By what differed", "messages[1]"),
    "/why": ("Why the last miss", "The request", "Last misses"),
    "/store": ("Records", "By model", "Age", "Purge everything"),
    "/spend": ("Spent", "By client", "in all"),
}


@pytest.mark.parametrize("path", SHOWN)
def test_a_view_shows_what_it_is_for(chromium: Browser, page: str, path: str) -> None:
    with seeing(chromium, page) as seen:
        tab = seen.open(path)

        for words in SHOWN[path]:
            tab.get_by_text(words, exact=False).first.wait_for()
        assert tab.locator("nav [aria-current=page]").count() == 1


def test_from_the_misses_one_gets_to_the_reason_of_one(chromium: Browser, page: str) -> None:
    with seeing(chromium, page) as seen:
        seen.open("/misses").locator("tbody tr", has_text="sample=").get_by_role("link").click()
        seen.tab.get_by_role("heading", name="Part by part").wait_for()

        assert "seed differs" in seen.tab.locator(".verdict").inner_text()
        assert seen.tab.locator("tr.differs th").all_inner_texts() == ["seed"]
        seen.tab.get_by_text("Values are not shown").wait_for()


def test_charts_are_drawn(chromium: Browser, page: str) -> None:
    with seeing(chromium, page) as seen:
        tab = seen.open("/")

        bars = tab.locator("svg.plot rect.bar")
        assert bars.count() > 10
        box = bars.first.bounding_box()
        assert box is not None
        assert box["width"] > 1
        assert tab.locator("svg.axis text").count() > 4


def test_a_record_shows_its_answer_and_no_request_that_was_not_kept(chromium: Browser, page: str, day: Path) -> None:
    with seeing(chromium, page) as seen:
        tab = seen.open(f"/record/{some_key(day)}")

        assert len(tab.locator("pre.text").inner_text()) > 10
        tab.get_by_text("Hits so far").wait_for()
        assert tab.get_by_role("heading", name="Request", exact=True).count() == 0


def test_rows_arrive_by_themselves_and_stop_where_one_asks(chromium: Browser, own: tuple[Path, str]) -> None:
    """The figures follow, too."""
    directory, url = own
    with seeing(chromium, url) as seen:
        tab = seen.open("/traffic")
        tab.locator("#live[data-on]").wait_for()
        add(directory, 1, model="fresh-model")
        tab.locator("tbody tr.fresh", has_text="fresh-model").wait_for()
        tab.get_by_role("button", name="Pause").click()
        add(directory, 1, model="unseen-model")
        tab.get_by_role("button", name="Go on").click()
        tab.locator("tbody tr.fresh", has_text="unseen-model").wait_for()
        add(directory, 60, model="many-models")
        tab.locator("#more", has_text="40 more came meanwhile").wait_for()
        assert tab.locator("tbody tr", has_text="many-models").count() == 20


def test_the_first_row_takes_the_place_of_what_there_was_to_say(chromium: Browser, tmp_path: Path) -> None:
    ended: list[bool] = []
    with shell_of(tmp_path, is_ending=lambda: bool(ended)) as shell, serving_in_thread(PageApp(shell)) as url:
        with seeing(chromium, url) as seen:
            tab = seen.open("/traffic")
            tab.get_by_text("No traffic yet").wait_for()
            tab.locator("#live[data-on]").wait_for()
            add(tmp_path, 1, model="the-very-first")
            tab.locator("tbody tr", has_text="the-very-first").wait_for()
            assert not tab.get_by_text("No traffic yet").is_visible()
        ended.append(True)


def test_filters_are_in_the_address_and_nothing_else_is(chromium: Browser, page: str) -> None:
    with seeing(chromium, page) as seen:
        tab = seen.open("/traffic")
        tab.get_by_label("Model").fill("qwen*")
        tab.get_by_label("Outcome").select_option("miss")
        tab.get_by_role("button", name="Filter").click()
        tab.get_by_role("link", name="Clear").wait_for()

        assert tab.url == f"{page}/traffic?model=qwen*&outcome=miss"
        assert set(tab.locator("tbody [data-cell=model]").all_inner_texts()) == {"qwen-3-32b"}
        tab.reload()
        assert tab.get_by_label("Model").input_value() == "qwen*"
        assert tab.get_by_label("Outcome").input_value() == "miss"


def test_older_rows_are_on_the_next_page(chromium: Browser, page: str) -> None:
    with seeing(chromium, page) as seen:
        tab = seen.open("/traffic")
        first = tab.locator("tbody td a", has_text="why").first.get_attribute("href")
        tab.get_by_role("link", name="Older").click()
        tab.get_by_role("link", name="Back to the newest").wait_for()

        assert "before=" in tab.url
        assert tab.locator("tbody td a", has_text="why").first.get_attribute("href") != first
        assert tab.locator("#live").count() == 0


def test_a_purge_shows_what_would_go_and_then_removes_it(chromium: Browser, own: tuple[Path, str]) -> None:
    """O6."""
    with seeing(chromium, own[1]) as seen:
        tab = seen.open("/store")
        tab.get_by_label("Model", exact=True).fill("gpt-5*")
        tab.get_by_role("button", name="Filter").click()
        tab.get_by_role("button", name="Purge these").click()
        said = tab.get_by_role("heading", name="This would remove").inner_text()
        tab.get_by_text("--model gpt-5*").wait_for()
        tab.get_by_role("button", name="Remove").click()
        done = tab.get_by_role("status").inner_text()

        assert re.findall(r"[0-9,]+", said)[:1] == re.findall(r"[0-9,]+", done)[:1]
        seen.open("/store?model=gpt-5*").get_by_text("No record fits this filter").wait_for()


def test_markup_in_a_name_is_shown_and_not_obeyed(chromium: Browser, own: tuple[Path, str]) -> None:
    """O8: in rows that were there, in rows that come, and in what is taken over later."""
    directory, url = own
    name = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    add(directory, 1, model=name, client=name)
    with seeing(chromium, url) as seen:
        for path in ("/", "/traffic", "/spend?by=model"):
            tab = seen.open(path)
            tab.get_by_text("<script>document.title").first.wait_for()
            if path != "/spend?by=model":
                tab.locator("#live[data-on]").wait_for()
                add(directory, 1, model=name)
                tab.locator("tr.fresh", has_text="<script>document.title").first.wait_for()
            assert tab.title() != "taken"
            assert tab.locator("main script, main img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [*VIEWS, "/nowhere", "record", "purge", "log in"])
def test_everybody_can_read_and_use_it(
    chromium: Browser, page: str, day: Path, path: str, scheme: Literal["light", "dark"]
) -> None:
    """Contrast, names and structure, by axe-core, in light and dark."""
    with seeing(chromium, page, scheme=scheme, logs_in=path != "log in") as seen:
        if path == "purge":
            seen.open("/store").get_by_role("button", name="Purge everything").click()
            seen.tab.get_by_role("heading", name="This would remove").wait_for()
        else:
            seen.open({"record": f"/record/{some_key(day)}", "log in": "/"}.get(path, path))
        if path == "/nowhere":
            seen.faults.clear()  # that the server said 404 is in the console
        # it is evaluated by the debugger, to which the page's policy does not apply
        results = axe.Axe().run(seen.tab)

    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("path", [*VIEWS, "record"])
@pytest.mark.parametrize("width", [390, 320])
def test_on_a_telephone_nothing_goes_sideways(chromium: Browser, page: str, day: Path, path: str, width: int) -> None:
    with seeing(chromium, page, width=width) as seen:
        tab = seen.open(f"/record/{some_key(day)}" if path == "record" else path)

        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.locator("h1, h2").first.is_visible()


def test_all_of_it_goes_by_keyboard(chromium: Browser, page: str) -> None:
    with seeing(chromium, page) as seen:
        tab = seen.open("/")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.className") == "skip"
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.activeElement.id") == "main"
        tab.keyboard.press("g")
        tab.keyboard.press("t")
        tab.get_by_role("heading", name="Traffic").wait_for()
        tab.keyboard.press("/")
        assert tab.evaluate("document.activeElement.name") == "model"
        tab.keyboard.type("qwen*")
        tab.keyboard.press("Enter")
        tab.get_by_role("link", name="Clear").wait_for()
        assert tab.url.endswith("/traffic?model=qwen*")
        tab.keyboard.press("Tab")
        outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"


def test_light_or_dark_is_kept(chromium: Browser, page: str) -> None:
    with seeing(chromium, page, scheme="light") as seen:
        tab = seen.open("/")
        paper = "getComputedStyle(document.body).backgroundColor"
        before = tab.evaluate(paper)
        tab.get_by_role("button", name="Change between light and dark").click()
        chosen = tab.evaluate(paper)
        seen.open("/spend")

        assert chosen != before
        assert tab.evaluate(paper) == chosen
