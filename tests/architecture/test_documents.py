"""Pages lead where they say, and decisions are numbered once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [*ROOT.glob("*.md"), *(page for folder in ("bench", "docs", "training") for page in (ROOT / folder).rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_link_into_a_page_names_one_of_its_headings() -> None:
    for page in PAGES:
        for file, heading in re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", page.read_text()):
            headings = re.findall(r"^#+ (.+)$", (page.parent / file if file else page).read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings], f"{page}: {file}#{heading}"


def test_decisions_are_numbered_without_a_gap_and_headed_by_their_number() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    assert [page.read_text().partition(".")[0] for page in DECISIONS] == [f"# {number}" for number in range(1, len(DECISIONS) + 1)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_decision_that_is_named_exists(page: Path) -> None:
    assert {int(number) for number in re.findall(r"\bADR (\d+)", page.read_text())} <= set(range(1, len(DECISIONS) + 1))
