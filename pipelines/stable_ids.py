"""Step ids that stay the same when other steps are added or removed.

Beam's Python SDK numbers the steps of a pipeline in the order in which it meets them. On Flink the
timers in a savepoint carry these ids: one step more before a stateful one, and the job that is
resumed from the savepoint fails over and over, with `No receiver found for timer`. So name the
steps by their labels, which are unique, before the pipeline runs:

    pipeline.component_id_map = StableIds()
"""

from __future__ import annotations

from typing import Any

from apache_beam.pipeline import AppliedPTransform, ComponentIdMap
from typing_extensions import override

__all__ = ["StableIds"]


class StableIds(ComponentIdMap):
    """Names steps by their full labels instead of numbers; all else as Beam does."""

    def __init__(self) -> None:
        super().__init__()
        self._given: set[str] = set()

    @override
    def _unique_ref(self, obj: Any = None, obj_type: Any = None, label: str | None = None) -> str:
        numbered: str = super()._unique_ref(obj, obj_type, label)
        if obj_type is not AppliedPTransform or not label:
            return numbered
        name = f"{self.namespace}_{obj_type.__name__}_{self._normalize(label)}"
        if name in self._given:  # labels that differ only in signs that ids cannot have
            return numbered
        self._given.add(name)
        return name
