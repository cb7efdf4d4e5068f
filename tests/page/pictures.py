"""Make the pictures of the page in `docs/img`, of a day that is made up: `python -m tests.page.pictures`."""

import tempfile
import time
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

from cachemw.metrics.slots import WorkerSlot
from cachemw.metrics.sums import SlotRecord, encode
from cachemw.metrics.table import FLIGHT_BYTES, FLIGHTS
from cachemw.page.app import PageApp
from tests.page.scenery import furnish
from tests.page.showing import TOKEN, shell_of
from tests.serving import serving_in_thread

PLACE = Path(__file__).parents[2] / "docs" / "img"
CHROMIUM = "/usr/bin/chromium"


def take(
    browser: Browser, url: str, path: str, name: str, *, scheme: Literal["light", "dark"], width: int, height: int
) -> None:
    """Take one picture."""
    scale = 2 if width < 500 else 1.5
    viewport = {"width": width, "height": height}
    context = browser.new_context(color_scheme=scheme, viewport=viewport, device_scale_factor=scale)  # type: ignore[arg-type]
    tab = context.new_page()
    tab.goto(f"{url}/#t={TOKEN}")
    tab.locator("header nav").wait_for()
    tab.goto(url + path)
    if path == "/":
        tab.locator("#live[data-on]").wait_for()
    tab.screenshot(path=PLACE / name)
    context.close()


def main() -> None:
    """Make all three."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "cachemw"
        furnish(directory, time.time(), count=2500)
        slot = WorkerSlot(directory)
        sums = slot.take()
        assert sums is not None
        slot.write(encode(SlotRecord(slot.boot, sums, {(FLIGHTS.name,): 3.0, (FLIGHT_BYTES.name,): 41_500.0})))
        with shell_of(directory) as shell, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            with serving_in_thread(PageApp(shell)) as url:
                take(browser, url, "/", "page-light.png", scheme="light", width=1200, height=1000)
                take(browser, url, "/misses", "page-dark.png", scheme="dark", width=1200, height=720)
                take(browser, url, "/why", "page-narrow.png", scheme="light", width=390, height=1180)
                browser.close()


if __name__ == "__main__":
    main()
