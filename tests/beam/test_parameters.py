"""Parameters that Beam compares quickly, and takes for its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import TimestampedValue

from beam_dynamodb import parameters
from beam_dynamodb.parameters import ELEMENT, WINDOWED_VALUE, parameter

OWN = [beam.DoFn.ElementParam, beam.DoFn.WindowedValueParam]
OTHERS = [beam.DoFn.KeyParam, beam.DoFn.TimestampParam, beam.DoFn.WindowParam]


@pytest.mark.parametrize("own", OWN, ids=repr)
def test_a_parameter_equals_what_it_stands_for_and_nothing_else(own: Any) -> None:
    made = parameter(own, "2.70.0")
    if made is own:
        pytest.skip("equal_to was not compiled: install with a C compiler (gcc or clang)")
    assert made == own
    assert own == made
    assert made in OWN
    assert hash(made) == hash(own)
    assert repr(made) == repr(own)
    assert not any(made == each or each == made for each in OTHERS)
    assert made not in OTHERS


def test_a_version_of_beam_with_which_it_was_not_tried_gets_its_own() -> None:
    major, minor = parameters._TRIED
    for version in (f"{major}.{minor + 1}.0", f"{major + 1}.0.0rc1", f"{major}.{minor + 1}.0.dev"):
        assert parameter(OWN[0], version) is OWN[0]


def test_without_a_compiler_it_is_beams_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "EqualTo", None)
    assert parameter(OWN[0]) is OWN[0]


class _Both(beam.DoFn):
    def process(self, element: Any = ELEMENT, windowed: Any = WINDOWED_VALUE) -> Iterator[Any]:
        yield element, windowed.value, windowed.timestamp.micros, len(windowed.windows)


def test_beam_hands_over_what_is_asked_for() -> None:
    with beam.Pipeline("FnApiRunner") as begin:
        seen = begin | beam.Create([TimestampedValue("a", 1), TimestampedValue("b", 2)])
        seen = seen | beam.ParDo(_Both())
        assert_that(seen, equal_to([("a", "a", 1_000_000, 1), ("b", "b", 2_000_000, 1)]))
