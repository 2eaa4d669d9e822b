"""The hub's own pages: served to all, without data, and strict about what they may load and run. What they do in a
browser is in tests/clients/test_pages.py."""

import re
from importlib.resources import files

import httpx
import pytest

from tests.support.hub import KEY, Hub

PAGES = ("/docs", "/dashboard", "/portal")
STATIC = sorted(file.name for file in files("hub.web").joinpath("static").iterdir())
NAMESPACE = "http://www.w3.org/2000/svg"
"""Names something, and is never loaded."""
POLICY = {
    "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
    "img-src": "'self' data:", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'", "trusted-types": "'none'",
}  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_open_to_all_and_may_load_and_run_only_the_hubs_own_files(hub: Hub, path: str) -> None:
    async with httpx.AsyncClient(base_url=hub.url()) as anyone:
        page = await anyone.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        rules = dict(rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";"))
        assert rules == POLICY
        expected = {
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
        }
        assert {name: page.headers[name] for name in expected} == expected
        assert "set-cookie" not in page.headers
        assert not re.search(r"<script(?![^>]* src=)|<style|\son[a-z]+=|\sstyle=|javascript:", page.text)
        for target in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert re.match(r"/[a-z]", target)
            assert (await anyone.get(target)).status_code == 200, target


async def test_a_page_is_the_same_for_everybody(hub: Hub, client: httpx.AsyncClient) -> None:
    async with httpx.AsyncClient(base_url=hub.url("", 1)) as anyone:
        for path in PAGES:
            assert (await anyone.get(path)).text == (await client.get(path)).text
            assert KEY not in (await client.get(path)).text
            assert (await anyone.post(path)).status_code == 405


@pytest.mark.parametrize("name", STATIC)
async def test_a_file_of_the_pages_names_no_other_host_and_makes_no_markup_of_text(name: str) -> None:
    text = files("hub.web").joinpath("static", name).read_text()
    assert not re.search(r"(?:https?:)?//(?!example\.com/)[a-z0-9.-]+\.[a-z]+", text.replace(NAMESPACE, ""))
    made = r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|srcdoc|createContextualFragment"
    assert not re.search(made + r"|\beval\b|Function\(", text)
    assert "localStorage" not in text
    assert "document.cookie" not in text


@pytest.mark.parametrize("name", [name for name in STATIC if name.endswith(".js")])
async def test_the_modules_of_a_page_are_all_there(hub: Hub, name: str) -> None:
    async with httpx.AsyncClient(base_url=hub.url()) as anyone:
        script = await anyone.get(f"/docs/static/{name}")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.headers["x-content-type-options"] == "nosniff"
        for imported in re.findall(r'from "\./([a-z]+\.js)"', script.text):
            assert imported in STATIC
