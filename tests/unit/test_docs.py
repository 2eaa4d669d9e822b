"""The documents say what the code does: every setting, every error, every close code."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.app import OPERATIONS
from hub.core.errors import HubError
from hub.live import connection
from hub.settings import SETTINGS, Setting
from hub.web import messages, ws

ROOT = Path(__file__).parents[2]


def errors(root: type[HubError] = HubError) -> Iterator[type[HubError]]:
    yield root
    for sub in root.__subclasses__():
        yield from errors(sub)


ERRORS = sorted(errors(), key=lambda error: error.code)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows(table_head: str) -> list[list[str]]:
    """The cells of the table in docs/errors.md whose first row begins so."""
    _, _, rest = read("docs/errors.md").partition(f"\n| {table_head} |")
    table = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_every_setting_stands_in_the_readme(setting: Setting) -> None:
    assert re.search(rf"`{setting.variable}\b", read("README.md")), f"README.md does not explain `{setting.variable}`"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_the_readme_has_a_settings_default_and_each_word_that_is_allowed(setting: Setting) -> None:
    row = re.search(rf"^\| `{setting.variable}` \|(.*?)\|(.*?)\|", read("README.md"), re.MULTILINE)
    assert row is not None
    assert row[1].strip() == (f"`{setting.default}`" if setting.default else "(none)")
    if setting.variable in ("HUB_DURABILITY", "HUB_LOG_LEVEL", "HUB_LOG_FORMAT"):
        assert row[2].replace("`", "").strip() == setting.allowed


def test_every_route_has_a_row_in_the_readme_and_every_row_a_route() -> None:
    served = {f"{operation.method} {re.sub(':[a-z]+}', '}', operation.path)}" for operation in OPERATIONS} | {
        f"GET {route.path}" for route in ws.routes
    }
    assert served == set(re.findall(r"^\| `([A-Z]+ /\S+)` \|", read("README.md"), re.MULTILINE))


@pytest.mark.parametrize("kind", messages.TYPES)
def test_every_message_of_a_websocket_client_is_explained(kind: str) -> None:
    assert f"\n| `{kind}` |" in read("docs/live.md")


@pytest.mark.parametrize(
    "document", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda p: p.name
)
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    for target, _, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(#([^)]*))?\)", document.read_text(encoding="utf-8")):
        found = document.parent / target if target else document
        assert found.exists(), f"{document.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_every_error_has_a_row_and_a_section(error: type[HubError]) -> None:
    found = [row for row in rows("code") if row[0] == f"[`{error.code}`](#{error.code.lower()})"]
    assert [[unlinked(cell) for cell in row[1:]] for row in found] == [
        [str(error.status), str(error.close_code), error.title, error.mend]
    ], "the row must repeat status, close_code, title and mend of the class"
    section = re.search(rf"^## {error.code}\n(.*?)\n\n## ", read("docs/errors.md"), re.MULTILINE | re.DOTALL)
    assert section is not None
    assert section[1].split() == (error.__doc__ or "").split(), "the section must repeat the docstring of the class"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_every_error_says_what_it_means_and_what_to_do_in_words_of_its_own(error: type[HubError]) -> None:
    assert {"code", "title", "mend"} <= vars(error).keys(), "a subclass must not inherit them"
    assert error.__doc__
    assert 10 <= len(error.title) <= 80
    assert 5 <= len(error.mend) <= 80


def unlinked(cell: str) -> str:
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", cell)


def test_no_document_explains_an_error_that_is_gone() -> None:
    codes = {error.code for error in ERRORS}
    assert set(re.findall(r"^(?:## |\| \[`)([A-Z_]+)\b(?! ?[a-z])", read("docs/errors.md"), re.MULTILINE)) == codes
    assert len(rows("code")) == len(codes)


def test_every_close_code_is_explained() -> None:
    used = {error.close_code for error in ERRORS}
    used |= {connection.SLOW_CONSUMER, connection.TOKEN_EXPIRED, connection.RESTARTING}
    assert used <= {int(row[0]) for row in rows("close")}
