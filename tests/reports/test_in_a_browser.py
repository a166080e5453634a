"""The report and the live pages in a real Chromium."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import text

from emsearch.ledger.store import Ledger
from emsearch.records.trial import Stage
from emsearch.reports.pages import write_report
from emsearch.reports.web import address, make_app
from tests.support.chromium import CHROMIUM, FLAGS
from tests.support.ports import free_port

TOKEN = "a-token"
Make = Callable[..., tuple[Ledger, Path]]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test for anything on the console or any failed request."""
    complaints: list[str] = []
    context = browser.new_context()
    opened = context.new_page()
    opened.on("console", lambda said: complaints.append(said.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
    yield opened
    context.close()
    assert complaints == []


@pytest.fixture
def serve() -> Iterator[Callable[[Ledger, Path], str]]:
    """A function that serves a study's live pages and returns where."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(ledger: Ledger, folder: Path) -> str:
        port = free_port()
        app = make_app(ledger, folder, TOKEN)
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return address(port, TOKEN)

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join()


Serve = Callable[[Ledger, Path], str]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 800])
def test_the_report_fits_its_window(
    page: Page, ledger: Ledger, folder: Path, width: int, scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(write_report(ledger, folder).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    red, green, blue = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    assert (red + green + blue > 600) == (scheme == "light")
    broken = "[...document.images].filter(one => one.naturalWidth === 0).length"
    assert page.evaluate(broken) == 0


def test_the_whole_leaderboard_is_seen_at_1400_pixels(
    page: Page, ledger: Ledger, folder: Path
) -> None:
    page.set_viewport_size({"width": 1400, "height": 900})
    page.goto(write_report(ledger, folder).as_uri())
    cut = (
        "[...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth).length"
    )
    assert page.evaluate(cut) == 0


def test_every_live_page_opens_from_the_first(
    page: Page, serve: Serve, ledger: Ledger, folder: Path
) -> None:
    page.goto(serve(ledger, folder))
    expect(page.get_by_role("heading", name="vnc")).to_be_visible()
    page.locator("tbody a").first.click()
    expect(page.get_by_role("heading", name="Candidate 24")).to_be_visible()
    page.locator("tbody a").first.click()
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    page.get_by_role("link", name="cluster").click()
    expect(page.get_by_role("heading", name="How attempts ended")).to_be_visible()


def test_the_form_filters_and_sorts(page: Page, serve: Serve, ledger: Ledger, folder: Path) -> None:
    page.goto(serve(ledger, folder))
    page.get_by_label("origin").select_option("random")
    page.get_by_label("sorted by").select_option("candidate")
    page.get_by_label("ranked by").select_option("synapse")
    page.get_by_role("button", name="Show").click()
    links = page.locator("tbody td a")
    expect(links).to_have_count(16)
    assert links.all_inner_texts() == [str(number) for number in range(1, 17)]
    expect(page.get_by_label("origin")).to_have_value("random")


def test_news_arrives_without_a_reload(page: Page, serve: Serve, make_study: Make) -> None:
    ledger, folder = make_study(Stage.SEARCHING)
    page.goto(serve(ledger, folder))
    page.evaluate("window.mine = 'kept'")
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE studies SET stage = 'tuning'")
    expect(page.get_by_text("The study is tuning.")).to_be_visible(timeout=10_000)
    assert page.evaluate("window.mine") == "kept"


def test_hostile_names_and_logs_run_nothing(page: Page, serve: Serve, make_study: Make) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    classes = (hostile, "membrane", "mitochondria", "synapse", "glia")
    ledger, folder = make_study(classes=classes, detail=hostile)
    page.goto(write_report(ledger, folder).as_uri())
    expect(page.get_by_text(hostile).first).to_be_visible()
    with ledger._engine.begin() as connection:
        connection.execute(text("UPDATE studies SET name = :name"), {"name": hostile})
    where = serve(ledger, folder)
    for path in ("", "cluster", "trials/11", "candidates/3"):
        page.goto(f"{where}studies/1/{path}")
        page.wait_for_timeout(3500 if path == "" else 0)  # past a live update
    page.goto(f"{where}studies/1/trials/11")
    expect(page.get_by_text(hostile).first).to_be_visible()
