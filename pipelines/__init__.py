"""Pipelines to run from a checkout; each module has a `main(argv)`. Not part of the package."""
