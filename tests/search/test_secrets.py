import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.secrets import HIDDEN, has_user_info, is_driver_only, redacted, redacted_values, without_password

CANARY = "c4n4ry-9f2"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://user:{CANARY}@host/db cannot be reached",
        f"http://{CANARY}@mlflow.example.com",
        f"AWS_SECRET_ACCESS_KEY={CANARY}",
        f"MLFLOW_TRACKING_TOKEN={CANARY} and more",
        f"HF_TOKEN: '{CANARY}'",
        f"connect(password={CANARY}, user=me)",
        f'{{"password": "{CANARY}", "n": 1}}',
        f"Authorization: Bearer {CANARY}",
        f"https://host/api?token={CANARY}&page=2",
        f"api_key = {CANARY}",
    ],
)
def test_a_secret_is_hidden_and_said_to_be(text):
    assert CANARY not in redacted(text)
    assert HIDDEN in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "num_tokens=197 token_distillation=0.5",
        "keep tokens: 39, 24",
        "class token: where it looks",
        "s3://bucket/folder",
        "user@example.com",
        "data.path must be a folder with the splits, but /nowhere is none. Correct data.path.",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("postgresql://user:canary@host:5/db?sslpassword=canary", "postgresql://host:5/db"),
        ("https://token@host/path", "https://host/path"),
    ],
)
def test_an_address_is_shown_without_its_password(uri, shown):
    assert without_password(uri) == shown


@pytest.mark.parametrize("uri", ["https://me:canary@host/", "https://host/", "sqlite:////a@b.db"])
def test_an_error_that_repeats_an_address_shows_no_password(uri):
    text = f"API request to {uri}api failed"
    assert redacted(text) == text.replace("me:canary@", f"{HIDDEN}@")


def test_tables_are_redacted_by_key_and_by_value():
    values = {
        "losses": {"token_distillation": 0.5},
        "tracking": {"uri": f"https://me:{CANARY}@host"},
        "data": {"args": {"hub_token": CANARY, "names": [f"x://{CANARY}@y"]}},
        "password": CANARY,
    }
    told = redacted_values(values)
    assert CANARY not in str(told)
    assert told["losses"] == values["losses"]
    assert told["tracking"]["uri"] == f"https://{HIDDEN}@host"


TEXTS = st.text(max_size=40)
NESTED = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXTS, v, max_size=4),
    max_leaves=12,
)


@given(NESTED)
def test_redacting_twice_changes_nothing_more(values):
    once = redacted_values(values)
    assert redacted_values(once) == once


def test_urls_with_users_are_known():
    assert has_user_info("s3://key:secret@bucket/x")
    assert not has_user_info("s3://bucket/x@y")


def test_what_reads_data_is_not_the_drivers_alone():
    assert all(map(is_driver_only, ("MLFLOW_TRACKING_PASSWORD", "PGPASSWORD", "DATABRICKS_TOKEN")))
    assert not any(map(is_driver_only, ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PATH")))
