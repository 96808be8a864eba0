"""Fixtures shared by all tests."""

import gc
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import settings

# The same examples in every run, however slow the machine: ``pytest --hypothesis-profile=search`` looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("same")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def no_settings(tmp_path_factory):
    """The settings of whoever runs the tests have no say, in subprocesses neither."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDFAST_CONFIG", str(tmp_path_factory.mktemp("config") / "none"))
        yield


@pytest.fixture(scope="session", autouse=True)
def all_garbage():
    """What `lasting_objects` has put aside is looked through once more at the end."""
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def lasting_objects(all_garbage):
    """Put aside what is there when a module starts: pyFAI collects garbage for each geometry, half a second if it is much."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data():
    """Path of a file of the development data, or a skip where that folder is not there (on a user's machine)."""

    def path(name):
        found = SHARED / name
        if not found.exists():
            pytest.skip(f"{name} is not on this machine (development data)")
        return found

    return path


@pytest.fixture(scope="module")
def browser():
    """Chromium, headless, for the tests of one module; a skip where there is none, unless EDFAST_BROWSER=required."""
    program = shutil.which("chromium")
    if program is None:
        missing = "there is no chromium on this machine (Debian: apt-get install chromium)"
        pytest.fail(missing) if os.environ.get("EDFAST_BROWSER") == "required" else pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]
    # Not for the whole session: it runs an event loop in this thread, in which others could not start theirs.
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """``open_page(address or file, **options of a context) -> page``; whatever goes wrong on the page fails the test.

    That is errors of scripts, messages of errors in the console, and requests to anywhere else than where the page is from.
    ``page.troubles`` is the list of them, for tests that expect some and clear it.
    """
    contexts, troubles = [], []

    def open_page(where, **options):
        address = where if "://" in str(where) else Path(where).resolve().as_uri()
        home = urlsplit(address)[:2]
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.troubles = troubles
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
        page.on("request", lambda request: troubles.append(f"request to {request.url}")
                if urlsplit(request.url)[:2] != home and urlsplit(request.url).scheme not in ("data", "blob") else None)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles
