"""The pages of `docs/` say what the code does: their tables are generated from it, and their recipes compose."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from mlkit_build.adapters import ADAPTERS
from mlkit_build.datasets import DATASETS
from mlkit_build.metrics import METRICS
from mlkit_build.sources import SOURCES
from tests.conftest import Workspace
from tests.promises.conftest import Command

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
BASE = {"name": "example", "source": {"kind": "frozen_graph", "path": "graph.pb"}}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recipes() -> list[Any]:
    """Return every YAML block of every page."""
    found = []
    for page in PAGES:
        blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
        found += [pytest.param(block, id=f"{page}-{index}") for index, block in enumerate(blocks)]
    return found


def test_the_pages_are_what_the_code_says_now(generator: ModuleType) -> None:
    pages = generator.pages()
    expected = ["adapters.md", "contract.md", "datasets.md", "formats.md", "metrics.md", "quantization.md", "sources.md"]
    assert sorted(pages) == expected
    for name, text in pages.items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, f"run `python docs/generate.py`, which writes docs/{name}"


def test_every_figure_of_a_manifests_quantization_has_a_row(warm_workspace: Workspace) -> None:
    bundle = warm_workspace.build("recipe=mnist").bundle
    assert bundle is not None
    figures = json.loads((bundle / "manifest.json").read_bytes())["quantization"]
    page = (DOCS / "quantization.md").read_text(encoding="utf-8")
    assert [figure for figure in figures if f"\n| `{figure}` | " not in page] == []


def test_the_size_that_the_readme_shows_is_that_of_the_build(warm_workspace: Workspace) -> None:
    size = warm_workspace.build("recipe=mnist").size_bytes
    assert size is not None
    assert f"model size         {size / 1000:.1f} kB" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_row_that_the_page_on_the_quantization_report_shows_is_the_reports(
    warm_workspace: Workspace, command: Command
) -> None:
    _, out, _ = command("quantization-report", "recipe=mnist", "quantization=int8", "ui=quiet")
    printed = [line.split() for line in out.splitlines()]
    block = re.search(r"```text\n(.*?)```", (DOCS / "quantization_report.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    assert all(line.split() in printed for line in block[1].splitlines())


def test_a_page_that_is_not_up_to_date_is_named_and_mended(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS, docs)
    (docs / "sources.md").write_text("old\n")

    def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(docs / "generate.py"), *arguments], capture_output=True, text=True)

    failed = generate("--check")
    assert (failed.returncode, "sources.md" in failed.stderr, "adapters.md" in failed.stderr) == (1, True, False)
    assert (docs / "sources.md").read_text() == "old\n"
    assert generate().returncode == 0
    assert generate("--check").returncode == 0


def test_every_kind_and_every_adapter_has_a_section() -> None:
    for page, names in (("sources.md", SOURCES), ("adapters.md", ADAPTERS), ("datasets.md", DATASETS)):
        text = (DOCS / page).read_text(encoding="utf-8")
        for name in names:
            section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
            assert section, f"{page} has no section {name}"
            assert "```yaml\n" in section
            assert "| meaning |" in section


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_section_and_an_example_that_composes(workspace: Workspace, name: str) -> None:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert "| outputs |" in section
    if dataclasses.fields(METRICS[name].options):
        assert "| meaning |" in section
    (example,) = re.findall(r"^    metrics: (\[.*\])$", section, re.MULTILINE) or ["[parity]"]
    dataset = {"kind": "npz", "path": "test.npz", "features": {"image": "images"}, "label": "labels"}
    recipe = {**BASE, "dataset": dataset, "validation": {"metrics": yaml.safe_load(example)}}
    folder = workspace.folder / "recipes" / "example"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert [choice.name for choice in workspace.compose("recipe=example").recipe.validation.metrics] == [name]


def test_every_field_is_explained(generator: ModuleType) -> None:
    for text in generator.pages().values():
        for row in re.findall(r"^\| `\w+` \|.*$", text, re.MULTILINE):
            assert re.search(r"\| [^|\s][^|]* \|$", row.replace("\\|", "")), row


@pytest.mark.parametrize("block", recipes())
def test_every_recipe_in_the_pages_composes(workspace: Workspace, block: str) -> None:
    stated = yaml.safe_load(block)
    folder = workspace.folder / "recipes" / "example"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(block if "name" in stated else yaml.safe_dump({**BASE, **stated}), encoding="utf-8")
    job = workspace.compose("recipe=example")
    for field in stated:
        assert getattr(job.recipe, field) is not None


def anchors(page: Path) -> set[str]:
    """Return what a link can name after `#`, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["../README.md", *PAGES])
def test_links_lead_somewhere(page: str) -> None:
    here = DOCS / page
    links = re.findall(r"\]\(([^)]+)\)", here.read_text(encoding="utf-8"))
    assert links
    for link in links:
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        place = here.parent / target if target else here
        assert place.exists(), link
        assert not anchor or anchor in anchors(place), link


@pytest.mark.parametrize("page", [*PAGES, "exporting_tensorflow_models.ipynb"])
def test_no_page_names_a_machine(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert not re.search(r"/(root|home|Users|work|tmp)/", text)
    assert str(Path.home()) not in text
