"""Parameters of a hot `process`: what Beam is to hand over for each element, at a lower price.

Beam compares each parameter of `process` with those that it knows, element by element, until one
is equal, and the comparison is a function in Python (`_DoFnParam.__eq__`; five calls for an
element and its WindowedValue). Where the right operand's type is derived from the left one's,
Python asks the right one first, and there the answer is compiled.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam

try:
    from beam_dynamodb.equal_to import EqualTo
except ImportError:  # it was installed where there is no compiler
    EqualTo = None  # type: ignore[assignment, misc]

__all__ = ["ELEMENT", "WINDOWED_VALUE", "parameter"]

_TRIED = (2, 77)
"""The last version of Beam with which this was tried. A later one may compare in another way, and
would hand over the parameter itself; so it gets its own ones."""


def parameter(own: Any, version: str = beam.__version__) -> Any:
    """What Beam takes for one of its own parameters.

    Args:
        own: Beam's own one, as `DoFn.ElementParam`.
        version: Beam's version.

    Returns:
        Another one that equals it; the same one where there was no compiler, or where Beam is
        newer than what this was tried with.
    """
    if EqualTo is None or tuple(map(int, version.split(".")[:2])) > _TRIED:
        return own

    class Parameter(EqualTo, type(own)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(own)
            self.param_id = own.param_id

    return Parameter()


ELEMENT = parameter(beam.DoFn.ElementParam)
WINDOWED_VALUE = parameter(beam.DoFn.WindowedValueParam)
