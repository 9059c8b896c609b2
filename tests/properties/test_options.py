"""What is rendered parses to the same; what is unknown is refused by name."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from beam_dynamodb.errors import OptionError
from beam_dynamodb.options import PROVIDERS, SinkOptions, keyword_of

TEXT = st.text("abcdefgh/:-_.0123456789", min_size=1, max_size=20)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "connector": st.just("dynamodb"),
    "table-name": st.from_regex(r"[A-Za-z0-9_.-]{3,255}", fullmatch=True),
    "aws.region": st.sampled_from(["us-east-2", "eu-central-1", "us-gov-west-1", "local"]),
    "aws.endpoint": st.sampled_from(["http://127.0.0.1:8000", "https://example.org/path"]),
    "aws.credentials.role.stsEndpoint": st.just("https://sts.example.org"),
    "aws.credentials.provider": st.sampled_from(PROVIDERS),
    "aws.credentials.role.provider": st.sampled_from(PROVIDERS),
    "aws.credentials.basic.accesskeyid.googleSecret": st.just("projects/p/secrets/s/versions/1"),
    "aws.credentials.basic.secretkey.googleSecret": st.just("projects/p/secrets/s"),
    "sink.batch.max-size": st.integers(1, 25),
    "sink.requests.max-buffered": st.integers(26, 10**6),
}


def value_of(key: str) -> st.SearchStrategy[Any]:
    kind = next(each.type_name for each in SinkOptions.declared() if each.key == key)
    if key in VALUES:
        return VALUES[key]
    return {"Boolean": st.booleans(), "Integer": st.integers(1, 10**6)}.get(
        kind, st.integers(1, 10**9) if kind == "Long" else TEXT
    )


@st.composite
def given_options(draw: st.DrawFn) -> dict[str, Any]:
    optional = [each.key for each in SinkOptions.declared() if not each.required]
    keys = ["connector", "table-name", "aws.region", *draw(st.sets(st.sampled_from(optional)))]
    return {key: draw(value_of(key)) for key in keys}


@given(given=given_options())
def test_what_is_rendered_parses_to_the_same(given: dict[str, Any]) -> None:
    try:
        options = SinkOptions.parse(given)
    except OptionError as error:  # the only mixtures that are impossible
        assume("credentials provider" not in str(error) and "not both" not in str(error))
        raise
    assert SinkOptions.parse(options.render()) == options
    assert SinkOptions.parse({keyword_of(key): each for key, each in given.items()}) == options
    assert pickle.loads(pickle.dumps(options)) == options


@given(key=st.from_regex(r"[a-z]{1,12}([._-][a-zA-Z]{1,12}){0,4}", fullmatch=True))
def test_an_unknown_key_is_refused_by_name(key: str) -> None:
    assume(key not in {each.key for each in SinkOptions.declared()})
    assume(key not in {each.keyword for each in SinkOptions.declared()})
    with pytest.raises(OptionError, match="Unknown option") as caught:
        SinkOptions.parse({key: "x"}, may_miss=("connector", "table-name", "aws.region"))
    assert f"'{key}'" in str(caught.value)
    assert caught.value.option == key
