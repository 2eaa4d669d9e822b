"""Whether people who can't see well, or have no mouse, can use a page: axe-core's judgement by WCAG's rules."""

from pathlib import Path
from typing import Any, Final, Literal

from playwright.async_api import Page

_AXE: Final = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
_SCHEMES: Final[tuple[Literal["dark", "light"], ...]] = ("dark", "light")
_SERIOUS: Final = ("serious", "critical")


async def assert_accessible(page: Page) -> None:
    """Fail with what axe-core finds serious or critical in what a page shows now, in dark and in light."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_AXE.read_text())  # not a script of the page's, so its policy has no say
    found: list[dict[str, Any]] = []
    for scheme in _SCHEMES:
        await page.emulate_media(color_scheme=scheme)
        found += (await page.evaluate("axe.run({resultTypes: ['violations']})"))["violations"]
    wrong = [
        f"{fault['id']}: {node['html'][:200]} {node['failureSummary']}"
        for fault in found
        if fault["impact"] in _SERIOUS
        for node in fault["nodes"]
    ]
    assert not wrong, "\n".join(wrong)
