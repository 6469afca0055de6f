"""Chromium, as Debian has it, driven by Playwright."""

import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

# It is to do nothing but what a test asks for, and to reach nobody else.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)

# Milliseconds for anything to be seen; only a test that fails takes as long.
PATIENCE_MS = 30_000

HEIGHT = 800


def no_browser() -> str:
    """Return why the page cannot be tested in a browser; empty if it can be."""
    if find_spec("playwright") is None:
        return "the page is not tested in a browser: pip install playwright"
    if program() is None:
        return "the page is not tested in a browser: there is no chromium (apt install chromium)"
    return ""


def program() -> str | None:
    """Return the path of the browser, if there is one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Chromium:
    """A running browser."""

    def __enter__(self) -> Self:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self.browser: Browser = self._playwright.chromium.launch(
            executable_path=program(), args=[*OPTIONS]
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.browser.close()
        self._playwright.stop()

    def open(
        self,
        url: str,
        path: str,
        *,
        theme: str = "dark",
        width: int = 1280,
        key: str = "",
        expects: tuple[str, ...] = (),
        before: str = "",
        moves: bool = False,
    ) -> "OpenedPage":
        """Open a page in a profile of its own.

        Args:
            url: Of arriero.
            path: Of the page.
            theme: `dark` or `light`, as the system would say.
            width: In pixels.
            key: The API key that was entered before.
            expects: Parts of what may be written to its console.
            before: A script that runs before any of the page.
            moves: Bars may move by themselves, as in a usual browser.
        """
        context = self.browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="no-preference" if moves else "reduce",
            locale="en-GB",
            timezone_id="UTC",
            # mobile: what is wider than the screen shows by the width of the layout
        )
        context.set_default_timeout(PATIENCE_MS)
        if key:
            context.add_init_script(
                f"if (location.origin === {url!r}) sessionStorage.setItem('arriero.key', {key!r});"
            )
        if before:
            context.add_init_script(before)
        page = OpenedPage(context, expects)
        page.page.goto(url + path)
        return page


class OpenedPage:
    """One page.

    Attributes:
        page: What Playwright has of it.
    """

    def __init__(self, context: "BrowserContext", expects: tuple[str, ...]) -> None:
        self._context = context
        self._expects = expects
        self._said: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", lambda told: self._note(told.type, told.text))
        self.page.on("pageerror", lambda error: self._said.append(f"error: {error}"))

    def _note(self, kind: str, text: str) -> None:
        if kind != "verbose":  # advice of the browser
            self._said.append(f"{kind}: {text}")

    def complaints(self) -> list[str]:
        """Return what was written to its console, but for what is expected."""
        return [line for line in self._said if not any(part in line for part in self._expects)]

    def live(self) -> "OpenedPage":
        """Wait until it shows how all stands, and return it."""
        self.page.wait_for_selector('.link[data-link="live"]')
        return self

    def run(self, script: str, *args: Any) -> Any:
        """Return what a function of JavaScript gives in the page."""
        return self.page.evaluate(script, *args)

    def until(self, script: str) -> None:
        """Wait until an expression of JavaScript holds; the page itself may evaluate none."""
        end = time.monotonic() + PATIENCE_MS / 1000
        while not self.page.evaluate(f"() => {script}"):
            assert time.monotonic() < end, f"not within {PATIENCE_MS / 1000:g} s: {script}"
            time.sleep(0.02)

    def model(self, name: str) -> Any:
        """Return the row of a model."""
        return self.page.locator(f'[data-model="{name}"]')

    def findings(self, axe: str) -> list[str]:
        """Return what axe has to say of the page as it is, each with what it is about."""
        # Not as a script of the page, which its policy would refuse.
        self.page.evaluate(axe + "; undefined")
        told = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{found['id']}: {node['target']} {node['failureSummary']}"
            for found in told["violations"]
            for node in found["nodes"]
        ]

    def overflow(self) -> int:
        """Return by how many pixels it is wider than the screen."""
        found: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return found

    def shot(self, path: Path, *, whole: bool = True) -> None:
        """Write a picture of it, or of what is on the screen."""
        time.sleep(0.1)  # for a look only: bars come to rest
        self.page.screenshot(path=path, full_page=whole)

    def close(self) -> None:
        """Close it."""
        self._context.close()
