"""DynamoDB's numbers: which it takes, which it has equal, how many bytes one is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal

from beam_dynamodb.faults import Refused, row_error
from beam_dynamodb.table import NUMBER_MAX_DIGITS, NUMBER_MAX_EXPONENT, NUMBER_MIN_EXPONENT

__all__ = [
    "USUAL_FLOATS",
    "canonical_number",
    "check_number",
    "decimal_text",
    "float_text",
    "int_text",
    "is_short",
    "is_usual",
    "number_size",
    "number_text",
]

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_ZERO = frozenset("123456789")
_MAX_FLOAT = float(f"1E{NUMBER_MAX_EXPONENT + 1}")
_MIN_FLOAT = float(f"1E{NUMBER_MIN_EXPONENT}")

USUAL_FLOATS = _MIN_FLOAT, _MAX_FLOAT
"""Of a magnitude from the first to below the second, and 0: floats that DynamoDB takes as Python
spells them."""

_MAX_TEXT = NUMBER_MAX_DIGITS + len("-.E-130")
"""How long a text can be without zeros that mean nothing. Longer ones are written anew."""

_MAX_INT: int = 10**NUMBER_MAX_DIGITS

_SHORT_INTEGER = 40
"""The most digits of an integer whose canonical spelling is without an exponent."""

_NOT_A_NUMBER = "the text is not a number; DynamoDB takes digits such as -12.5 or 1.25E-7"
_NOT_FINITE = "NaN and infinity are no DynamoDB numbers; write None or a string instead"
_TOO_MANY_DIGITS = (
    f"the number has more than {NUMBER_MAX_DIGITS} significant digits, which is DynamoDB's most; "
    "round it or write a string"
)
_OUT_OF_RANGE = (
    f"the number is out of DynamoDB's range, which is 0 and from 1E{NUMBER_MIN_EXPONENT} to "
    f"below 1E{NUMBER_MAX_EXPONENT + 1} in magnitude; write a string instead"
)


def canonical_number(number: str | float | Decimal) -> str:
    """A number's one spelling: two numbers have the same exactly when DynamoDB has them equal.

    So `1`, `1.0`, `1E0` and `01` give the same text, and so do `0` and `-0`. An integer of up to 40
    digits is spelled as Python does. Digits and magnitude are not limited here.

    Raises:
        RowError: It is no number, or not a finite one.
    """
    exact = repr(number) if isinstance(number, float) else number
    if isinstance(exact, str) and _is_canonical(exact):
        return exact
    try:
        if isinstance(number, str):
            exact = _parsed(number)
        value = _finite(Decimal(exact))
    except Refused as error:
        raise row_error(error) from None
    if not value:
        return "0"
    value = value.normalize(_EXACT)
    return f"{value:f}" if _is_short_integer(value) else str(value)


def is_short(integers: Sequence[int]) -> bool:
    """Whether DynamoDB takes all the integers as Python spells them, which is then canonical."""
    return max(integers) < _MAX_INT and min(integers) > -_MAX_INT


def is_usual(floats: Sequence[float]) -> bool:
    """Whether DynamoDB takes all the floats as Python spells them; False if that is not plain."""
    return all(map(_is_usual, floats))


def check_number(text: str) -> str:
    """Checks that DynamoDB takes the text as a number.

    Returns:
        The text itself, or a shorter one of the same number where it is long.

    Raises:
        RowError: It is no number, has more than 38 significant digits, or is out of range.
    """
    try:
        return number_text(text)
    except Refused as error:
        raise row_error(error) from None


def number_size(text: str) -> int:
    """The stored bytes of a number that `check_number` passed, as DynamoDB Local counts them.

    1 byte, 1 for each pair of digits from the first to the last that is not 0, 1 for a minus.
    The pairs are digits to the base 100: 0.1 and 99 are one, 1.5 and 101 two. 0 is 1 byte.
    AWS's own rule, in *DynamoDB item sizes and formats*, is "approximately" this.
    """
    number = Decimal(text).normalize(_EXACT)
    sign, _, last = number.as_tuple()
    if not number or not isinstance(last, int):
        return 1
    return 2 + number.adjusted() // 2 - last // 2 + sign


def int_text(value: int) -> str:
    """An integer as DynamoDB takes it; raises Refused."""
    try:
        text = f"{value}"
    except ValueError:
        # Python does not spell integers of thousands of digits.
        raise Refused(_OUT_OF_RANGE) from None
    return text if len(text) <= NUMBER_MAX_DIGITS else decimal_text(Decimal(text))


def float_text(value: float) -> str:
    """The shortest text that means exactly this float; raises Refused."""
    if _is_usual(value):
        return repr(value)
    # By its text: the float nearest to 1E126 is a little less than that.
    return decimal_text(Decimal(repr(value)))


def decimal_text(value: Decimal) -> str:
    """A decimal as DynamoDB takes it, in its own scale where that is short; raises Refused."""
    text = Decimal.__str__(_finite(value))
    if len(text) <= NUMBER_MAX_DIGITS and "E" not in text:
        return text
    exponent = value.adjusted()
    if not NUMBER_MIN_EXPONENT <= exponent <= NUMBER_MAX_EXPONENT:
        if value:
            raise Refused(_OUT_OF_RANGE)
        return "0"
    if len(text) <= NUMBER_MAX_DIGITS:
        return text
    exact = value.normalize(_EXACT)
    if len(exact.as_tuple().digits) > NUMBER_MAX_DIGITS:
        raise Refused(_TOO_MANY_DIGITS)
    return text if len(text) <= _MAX_TEXT else str(exact)


def number_text(text: str) -> str:
    """What `check_number` says, but raises Refused."""
    checked = decimal_text(_parsed(text))
    return text if len(text) <= _MAX_TEXT else checked


def _is_usual(value: float) -> bool:
    return _MIN_FLOAT <= value < _MAX_FLOAT or -_MAX_FLOAT < value <= -_MIN_FLOAT or value == 0


def _is_canonical(text: str) -> bool:
    """Whether it is plainly a short integer, which most keys are."""
    return (
        text[:1] in _NOT_ZERO and len(text) <= _SHORT_INTEGER and text.isdigit() and text.isascii()
    )


def _is_short_integer(normalized: Decimal) -> bool:
    _, digits, exponent = normalized.as_tuple()
    return isinstance(exponent, int) and 0 <= exponent <= _SHORT_INTEGER - len(digits)


def _parsed(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise Refused(_NOT_A_NUMBER)
    try:
        return Decimal(text)
    except ArithmeticError:
        raise Refused(_OUT_OF_RANGE) from None


def _finite(value: Decimal) -> Decimal:
    if not value.is_finite():
        raise Refused(_NOT_FINITE)
    return value
