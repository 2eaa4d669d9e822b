"""Settings are read from the environment, and a wrong one is refused by its name, its value and what is allowed."""

import base64
from pathlib import Path

import pytest

from hub import settings
from hub.settings import SETTINGS, Setting, SettingsError

WRONG = {
    "HUB_REDIS_URL": [
        *("localhost:6379", "http://localhost", "redis://", "redis://:6379/0", "redis://h:0", "redis://h:99999"),
        *(
            "redis://h:one",
            "redis://h:1:2",
            "redis://[::1",
            "redis://h/db",
            "redis://h/0/1",
            "redis://h/0#x",
            "unix://",
        ),
        *("redis+sentinel://", "redis+sentinel://a:1,/shop", "redis+sentinel://a:x/shop"),
    ],
    "HUB_PARTITIONS": ["0", "65", "one", "1.5"],
    "HUB_DELIVERY_PARTITIONS": ["0", "257", "-1"],
    "HUB_DURABILITY": ["disk", "FSYNC"],
    "HUB_SECRET_KEY": ["secret", base64.b64encode(b"k" * 31).decode()],
    "HUB_BOOTSTRAP_KEY": ["short", "has a space in its text", "ключ-ключ-ключ-ключ"],
    "HUB_JWT_SECRET": ["only-31-characters-are-too-few-", "ssh-rsa-is-the-beginning-of-a-public-key"],
    "HUB_JWT_JWKS_URL": ["id.example/jwks", "file:///etc/passwd", "https://", "https://u:p@id.example/jwks"],
    "HUB_JWT_LEEWAY": ["-1", "301", "nan", "soon"],
    "HUB_CORS_ORIGINS": ["app.example", "https://a.example,b.example", "https://a.example/", "https://"],
    "HUB_WEBHOOK_ALLOW_HTTP": ["maybe", "2"],
    "HUB_WEBHOOK_ALLOW_NETWORKS": ["10.0.0.0/33", "10.1.2.3/8", "intranet", "10.0.0.0/8,"],
    "HUB_PUBLIC_URL": ["hub.example", "https://hub.example/", "https://u:p@hub.example", "ftp://hub.example"],
    "HUB_WEBHOOK_PROXY": ["proxy:3128", "https://proxy:3128", "http://proxy", "http://proxy:3128/path", "http://:1"],
    "HUB_WEBHOOK_TIMEOUT": ["0", "121", "nan", "inf", "soon"],
    "HUB_RETRY_SCHEDULE": ["5,,7", "0", "-1", "nan", "604801", ",".join(["1"] * 50)],
    "HUB_RETENTION": ["59", "1e6", "week"],
    "HUB_LOG_MAX_BYTES": ["1000", "1gb"],
    "HUB_ATTEMPT_RETENTION": ["0"],
    "HUB_MAX_EVENT_BYTES": ["1023", "4194305"],
    "HUB_MAX_CONNECTIONS_PER_APP": ["0", "many"],
    "HUB_WS_MAX_ROOMS": ["0", "100001"],
    "HUB_WS_MAX_MESSAGE_BYTES": ["1023", "1mb"],
    "HUB_WS_MESSAGE_RATE": ["0", "0.5"],
    "HUB_IO_URING": ["on", "1"],
    "HUB_PLANS": ["free", "free: key=1", "free: key=0/s", "free: key=1/s; free: ip=1/s", "anonymous: app=1/s"],
    "HUB_SECRET_KEY_PREVIOUS": ["short", "aaaa,bbbb"],
    "HUB_SHED_LAG": ["0.001", "11", "on", "0"],
    "HUB_LIMITS_FAIL": ["shut", "OPEN"],
    "HUB_TRUSTED_PROXIES": ["10.0.0.0/33", "proxy", "10.1.2.3/8"],
    "HUB_DRAIN_WAIT": ["-1", "301", "soon"],
    "HUB_AUDIT_RETENTION": ["59", "a year"],
    "HUB_TRACES": ["on", "jaeger"],
    "HUB_METRICS_KEY": ["short", "a key with blanks in it"],
    "HUB_METRICS_PORT": ["0", "65536", "http"],
    "HUB_METRICS_PER_ENDPOINT": ["all"],
    "HUB_LOG_LEVEL": ["verbose"],
    "HUB_LOG_FORMAT": ["xml"],
}
ANY_VALUE = {"HUB_DATA_DIR", "HUB_JWT_AUDIENCE", "HUB_JWT_ISSUER"}


def test_without_variables_everything_has_its_default() -> None:
    found = settings.load({})
    assert found.redis_url is None
    assert found.data_dir == Path(".hub")
    assert found.partitions == 1
    assert found.delivery_partitions == 16
    assert found.secret_key is None
    assert found.cors_origins == ()
    assert (found.webhook_allow_networks, found.webhook_proxy) == ((), None)
    assert found.webhook_timeout == 15
    assert found.retry_schedule[:2] == (5, 300)
    assert found.log_max_bytes is None


def test_an_empty_variable_is_the_same_as_none() -> None:
    assert settings.load({setting.variable: "" for setting in SETTINGS}) == settings.load({})


def test_values_are_parsed() -> None:
    found = settings.load(
        {
            "HUB_SECRET_KEY": base64.b64encode(b"k" * 32).decode(),
            "HUB_CORS_ORIGINS": "https://a.example, https://b.example",
            "HUB_WEBHOOK_ALLOW_HTTP": "yes",
            "HUB_RETRY_SCHEDULE": "1,2.5",
            "HUB_LOG_MAX_BYTES": "1048576",
        }
    )
    assert found.secret_key == b"k" * 32
    assert found.cors_origins == ("https://a.example", "https://b.example")
    assert found.webhook_allow_http is True
    assert found.retry_schedule == (1, 2.5)
    assert found.log_max_bytes == 1048576


def test_other_variables_are_none_of_its_business() -> None:
    assert settings.load({"PATH": "/bin", "HUB_URL": "http://localhost"}) == settings.load({})


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_a_wrong_value_is_refused_with_the_name_the_value_and_what_is_allowed(setting: Setting) -> None:
    if setting.variable in ANY_VALUE:
        return
    for value in WRONG[setting.variable]:
        with pytest.raises(SettingsError) as caught:
            settings.load({setting.variable: value})
        message = str(caught.value)
        assert message.startswith(f"{setting.variable} is ")
        assert setting.allowed in message
        assert (value in message) is not setting.secret


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_a_default_is_itself_allowed(setting: Setting) -> None:
    settings.load({setting.variable: setting.default})


@pytest.mark.parametrize(
    "url",
    [
        *("redis://h", "redis://h/", "redis://:p%2Fw@h:6379/15", "rediss://u:p@h.example:6380", "redis://[::1]:6379/0"),
        *("redis://h?db=3", "unix:///run/valkey.sock", "unix:///run/valkey.sock?db=1&password=p"),
        *("redis+sentinel://a", "redis+sentinel://u:p@a:26379,b:26380/shop"),
    ],
)
def test_every_form_of_a_store_s_url_is_taken(url: str) -> None:
    assert settings.load({"HUB_REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://u:hush@h", "redis://u:hush/hush@h", "redis://u:hush?hush@h", "redis://h:one?password=hush"),
        "redis://h?password=hu@sh&ssl_cert_reqs=hush",
    ],
)
def test_no_part_of_a_refused_url_that_may_be_a_password_is_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="HUB_REDIS_URL") as caught:
        settings.load({"HUB_REDIS_URL": url})
    assert "hush" not in str(caught.value)
