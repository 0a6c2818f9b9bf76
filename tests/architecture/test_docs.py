"""The docs tell the truth: links lead somewhere, the reference is current, the README's snippet runs."""

import re
import runpy
from pathlib import Path

import pytest

from aigc_pipeline.config import load_config

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "deployments" / "README.md"]


PAGES_FROM_CODE = runpy.run_path(str(ROOT / "docs/reference/generate.py"))["PAGES"]


@pytest.mark.parametrize("page", PAGES_FROM_CODE)
def test_a_page_that_is_generated_from_code_is_current(page):
    assert (ROOT / "docs/reference" / page).read_text() == PAGES_FROM_CODE[page]()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_rows_of_a_table_have_as_many_cells_as_its_head(page):
    width = None
    for line in page.read_text().splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
        assert None in (cells, width) or cells == width, line
        width = cells


def test_the_settings_page_names_every_setting_of_a_resolved_config():
    page, tree = PAGES_FROM_CODE["settings.md"](), load_config(source="digits").model_dump()
    for stage, settings in tree.items():
        for name in settings if isinstance(settings, dict) else ():
            assert f"`{stage}.{name}`" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    "page", ["README.md", *(str(each.relative_to(ROOT)) for each in ROOT.glob("docs/how-to/*.md"))]
)
def test_settings_that_a_command_on_a_page_gives_are_settings(page):
    for line in (ROOT / page).read_text().splitlines():
        given = re.findall(r"-o (?:'([^']+)'|([^\s`]+))", line)
        overrides = [quoted or plain for quoted, plain in given if plain != "stage.setting=value"]

        assert not overrides or load_config(source="digits", overrides=overrides), line
        assert not any("[" in plain for _, plain in given), f"a shell reads the brackets: {line}"


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
