"""Two keys have one identity exactly when DynamoDB refuses them in one call."""

from __future__ import annotations

import uuid
from typing import Any

import botocore.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_dynamodb.requests import RequestFactory
from beam_dynamodb.table import TableKey
from beam_dynamodb.values import attribute_values
from tests.conftest import client
from tests.properties.strategies import decimals, respelled, texts

REGION = "us-east-2"


@pytest.fixture(scope="module")
def tables(dynamodb_local: str) -> dict[str, tuple[Any, str]]:
    dynamodb = client(dynamodb_local, REGION)
    made = {}
    for kind in "SNB":
        name = f"identity-{kind}-{uuid.uuid4().hex[:8]}"
        dynamodb.create_table(
            TableName=name,
            AttributeDefinitions=[
                {"AttributeName": "a", "AttributeType": kind},
                {"AttributeName": "b", "AttributeType": kind},
            ],
            KeySchema=[
                {"AttributeName": "a", "KeyType": "HASH"},
                {"AttributeName": "b", "KeyType": "RANGE"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        made[kind] = (dynamodb, name)
    return made


@st.composite
def number_pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """Numbers that often are equal and written in two ways."""
    number = draw(decimals())
    one = {"N": draw(respelled(number))}
    other = {"N": draw(st.one_of(respelled(number), respelled(draw(decimals()))))}
    return one, other


def text_pairs() -> st.SearchStrategy[tuple[Any, Any]]:
    text = st.one_of(st.sampled_from(["a", "a$", "$", " ", "1", "a:1"]), texts(min_size=1))
    return st.tuples(text, text)


def byte_pairs() -> st.SearchStrategy[tuple[Any, Any]]:
    some = st.binary(min_size=1, max_size=2)
    return st.tuples(some, some)


PAIRS = {"S": text_pairs, "N": number_pairs, "B": byte_pairs}


@pytest.mark.parametrize("kind", "SNB")
def test_one_identity_exactly_when_refused_together(
    tables: dict[str, tuple[Any, str]], kind: str
) -> None:
    dynamodb, table = tables[kind]
    factory = RequestFactory(table, TableKey(("a", "b"), (kind, kind)))  # type: ignore[arg-type]

    def wire(pair: tuple[Any, Any]) -> dict[str, Any]:
        if kind == "N":
            return {"a": pair[0], "b": pair[1]}
        return attribute_values({"a": pair[0], "b": pair[1]})

    def raw(item: dict[str, Any]) -> dict[str, Any]:
        import base64

        return {k: {"B": base64.b64decode(v["B"])} if "B" in v else v for k, v in item.items()}

    @settings(max_examples=60)
    @given(one=PAIRS[kind](), other=PAIRS[kind](), swap=st.booleans())
    def check(one: tuple[Any, Any], other: tuple[Any, Any], swap: bool) -> None:
        if swap and kind != "N":
            other = (one[0] + one[1][:0], one[1])
        first, second = wire(one), wire(other)
        made = [factory.request(each, 0) for each in (first, second)]
        same = made[0] is not None and made[1] is not None and made[0].fence == made[1].fence
        try:
            dynamodb.batch_write_item(
                RequestItems={
                    table: [{"PutRequest": {"Item": raw(each)}} for each in (first, second)]
                }
            )
        except botocore.exceptions.ClientError as error:
            assert "duplicates" in str(error)
            assert same, f"DynamoDB takes {first} and {second} as one key"
        else:
            assert not same, f"DynamoDB takes {first} and {second} as two keys"

    check()
