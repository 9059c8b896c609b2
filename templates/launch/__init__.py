"""Stages, launches and follows the templates' jobs: `python -m templates.launch --help`."""

from __future__ import annotations

from templates.launch.cli import main

__all__ = ["main"]
