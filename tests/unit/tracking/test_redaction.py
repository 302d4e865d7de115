from __future__ import annotations

import pytest

from sweeper.tracking.redaction import REDACTED, Redactor


@pytest.mark.parametrize("name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_APIKEY", "DB_PASSWORD", "api_key_2"])
def test_values_of_variables_with_a_secret_name_are_replaced(name: str) -> None:
    assert Redactor.from_environment({name: "s3cret-value"}).text("a s3cret-value b") == f"a {REDACTED} b"


@pytest.mark.parametrize(
    ("name", "value"), [("TOKENIZERS_PARALLELISM", "parallel"), ("HOME", "somewhere"), ("CACHE_KEY", "12345")]
)
def test_ordinary_variables_and_very_short_values_stay(name: str, value: str) -> None:
    assert Redactor.from_environment({name: value}).text(f"x {value}") == f"x {value}"


def test_a_secret_that_contains_another_is_replaced_whole() -> None:
    redactor = Redactor.from_environment({"A_TOKEN": "abcdef", "B_TOKEN": "abcdef-ghijkl"})
    assert redactor.text("abcdef-ghijkl") == REDACTED


def test_json_is_redacted_at_every_depth_and_keeps_its_types() -> None:
    redactor = Redactor.from_environment({"A_TOKEN": "abcdef"})
    value = {"abcdef": ["abcdef", 1, None, True, {"x": "y abcdef"}], "n": 0.5}
    assert redactor.json(value) == {REDACTED: [REDACTED, 1, None, True, {"x": f"y {REDACTED}"}], "n": 0.5}


def test_the_password_in_an_address_is_replaced_and_the_rest_stays() -> None:
    redactor = Redactor.from_environment({})
    assert redactor.text("postgresql://me:pw@host:5432/db") == f"postgresql://me:{REDACTED}@host:5432/db"
    assert redactor.text("http://localhost:5000/a@b") == "http://localhost:5000/a@b"
