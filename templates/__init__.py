"""Templates for Dataflow, Flex and classic, and their launcher. Not part of the package."""
