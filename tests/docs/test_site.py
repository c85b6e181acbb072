"""The site: strict, complete, and nothing in it is fetched from elsewhere when it is read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from rader_plugins.cli import build_app
from tests.support.doc_pages import PAGES, ROOT, text_of

pytest.importorskip("mkdocs", reason="needs mkdocs (group docs)")
pytest.importorskip("mkdocstrings", reason="needs mkdocstrings (group docs)")
pytest.importorskip("material", reason="needs mkdocs-material (group docs)")
# What a page loads by itself: a link that is followed by a click is not among them.
LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(https?:)?//|<link[^>]*rel=[\"']?(?:stylesheet|preconnect)[^>]*href=[\"']?(https?:)?//"
)
FETCHED = re.compile(r"url\([\"']?(?:https?:)?//|@import\s+[\"'](?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("datasets", "langchain_core", "llama_index.core"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_site_is_built_without_a_warning_and_has_every_page(site: Path) -> None:
    for page in PAGES:
        if page.startswith("docs/"):
            assert (site / page.removeprefix("docs/")).with_suffix(".html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_reading_the_site_fetches_nothing(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not LOADED.search(page.read_text(encoding="utf-8")), page
    for sheet in site.rglob("*.css"):
        assert not FETCHED.search(sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_site_has_every_command_and_every_public_name(site: Path) -> None:
    import click

    import rader_plugins

    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    app: Any = typer.main.get_command(build_app())
    for name in app.list_commands(click.Context(app)):
        assert f"rader {name}" in commands
    names = " ".join(page.read_text(encoding="utf-8") for page in (site / "reference" / "python").glob("*.html"))
    for name in rader_plugins.__all__:
        assert name.startswith("__") or re.search(rf'id="[\w.]+\.{name}"', names), name


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_of_the_repository_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text_of(page)):
        # The site makes these pages.
        if not re.match(r"[a-z]+:", target) and not target.startswith("reference/"):
            assert (folder / target).exists(), target
