"""The door for Beam's `--setup_file=./setup.py`; everything else stands in pyproject.toml.

The licence stands here because --setup_file builds with whatever setuptools is there: those before
77 refuse `license = "Apache-2.0"` in pyproject.toml, and later ones every older way to say it.
"""

from setuptools import setup

setup(license="Apache-2.0")
