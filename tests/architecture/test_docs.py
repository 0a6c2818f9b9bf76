"""The docs tell the truth: links lead somewhere, the reference is current, the README's snippet runs."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "deployments" / "README.md"]


def test_the_columns_page_is_current():
    rendered = runpy.run_path(str(ROOT / "docs/reference/generate.py"))["render"]()

    assert (ROOT / "docs/reference/columns.md").read_text() == rendered


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_every_make_target_the_readme_names_exists():
    makefile = (ROOT / "Makefile").read_text()

    for target in set(
        re.findall(r"\bmake (\w+)", (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text())
    ):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_make_bench_leaves_out_exactly_the_benchmarks_that_need_arguments():
    listed = re.search(r"^WITH_ARGUMENTS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    needing = re.compile(r'add_argument\("\w|required=True')
    found = [file.stem for file in sorted((ROOT / "benchmarks").glob("*.py")) if needing.search(file.read_text())]

    assert listed is not None
    assert listed[1].split() == found
