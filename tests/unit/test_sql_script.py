"""SQL scripts that can't be read."""

from __future__ import annotations

import pytest

from beam_dynamodb import SqlError
from pipelines.sql_script import parse_script


@pytest.mark.parametrize(
    "setting",
    [
        "'aws.credentials.basic.secretkey' = SECRET",
        "'aws.credentials.basic.secretkey' = 5ECRET",
        "'aws.credentials.basic.secretkey' SECRET",
        "'aws.credentials.basic.secretkey' = 'a' SECRET",
        "5ECRET",
    ],
)
def test_no_error_shows_what_may_be_a_value_of_set(setting):
    with pytest.raises(SqlError, match="Encountered something else") as refused:
        parse_script(f"SET {setting};")
    assert "ECRET" not in str(refused.value)
