"""What mkdocs asks while it builds the site: the order of the pages.

A page that is not written yet is left out, and one that is not named here comes last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGES = (
    ("Quick start", "index.md"),
    ("Guide", "guide.md"),
    ("Command line", "cli.md"),
    ("SQL", "sql.md"),
    ("YAML and Java", "yaml.md"),
    ("Options", "options.md"),
    ("Guarantees", "guarantees.md"),
    ("Performance", "performance.md"),
    ("Flink", "flink.md"),
    ("Dataflow", "dataflow.md"),
    ("Coming from Flink", "from-flink.md"),
    ("Coming from Beam Java", "from-beam-java.md"),
    ("Coming from boto3", "from-boto3.md"),
    ("API", "api.md"),
)


def navigation(docs: Path) -> list[dict[str, Any]]:
    """The pages that exist, in their order, the decisions in a section of their own.

    Args:
        docs: The folder with the pages.
    """
    found = {path.name for path in docs.glob("*.md")}
    pages: list[dict[str, Any]] = [{title: name} for title, name in PAGES if name in found]
    pages += [{_title(name): name} for name in sorted(found - {name for _, name in PAGES})]
    decisions = [f"decisions/{path.name}" for path in sorted(docs.glob("decisions/*.md"))]
    return [*pages, {"Decisions": decisions}] if decisions else pages


def _title(name: str) -> str:
    return name.removesuffix(".md").replace("-", " ").capitalize()


def on_config(config: Any) -> Any:
    """Called by mkdocs with its configuration."""
    config["nav"] = navigation(Path(config["docs_dir"]))
    return config
