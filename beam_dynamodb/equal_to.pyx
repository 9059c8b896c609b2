# cython: language_level=3
"""Equality with one object, told without a call of Python; see docs/decisions/0021."""


cdef class EqualTo:
    """Equal to one object and to itself, and to nothing else."""

    cdef object _other

    def __init__(self, other):
        """Takes the object, which must have a hash."""
        self._other = other

    def __eq__(self, other):
        return other is self._other or other is self

    def __hash__(self):
        return hash(self._other)
