"""Plans are read from one text, and what they say of themselves is what the draft of the fields asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.limits import MAX_LIMIT, Plan, Rule, Standing, header_fields, parse_plans, seconds

TEXT = "default: key=600/m, ip=50/s fixed; pro: app=5000/10s bucket burst=10000,key  POST  /v1/events=9/h sliding;"


def test_a_text_gives_each_plan_its_rules() -> None:
    assert parse_plans(TEXT) == {
        "default": Plan("default", (Rule("key", 600, 60), Rule("ip", 50, 1, "fixed"))),
        "pro": Plan(
            "pro", (Rule("app", 5000, 10, "bucket", 10_000), Rule("key", 9, 3600, "sliding", route="POST /v1/events"))
        ),
    }


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ";",
            "default",
            "default:",
            "default: ",
            "default: key",
            "default: key=5",
            "default: key=5/",
            "a b: key=1/s",
        ),
        *("default: key=0/s", "default: key=1/0s", "default: key=1/32d", f"default: key={MAX_LIMIT + 1}/s"),
        *("default: team=1/s", "default: key=1/s leaky", "default: key=1/s fixed burst=2", "default: key=1/s burst=0"),
        *("default: key=1/s; default: key=2/s", "default: key=1/s, key=2/1s", "Default: key=1/s", "default: key=-1/s"),
        *("default: key post /v1/events=1/s", "default: key POST v1=1/s", "anonymous: key=1/s", "a: key=1/s,"),
    ],
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_plans(text)


@given(st.text(alphabet="abkeyip=/:;, 0123456789smhdburstPOSTv.-"))
def test_any_text_is_plans_or_a_value_error(text: str) -> None:
    try:
        plans = parse_plans(text)
    except ValueError:
        return
    assert all(plan.rules for plan in plans.values())


def test_an_operation_falls_under_the_rules_of_all_and_its_own() -> None:
    plan = parse_plans("p: key=1/s, key POST /v1/events=2/s, key GET /v1/events=3/s")["p"]
    assert [rule.limit for rule in plan.of("POST /v1/events")] == [1, 2]
    assert [rule.limit for rule in plan.of("POST /v1/keys")] == [1]


def test_the_fields_name_every_rule_and_the_older_ones_the_tightest() -> None:
    rules = (Rule("key", 600, 60), Rule("app", 100, 1, "bucket", 400), Rule("ip", 9, 3600, "fixed"))
    standings = (Standing(500, 9001, 0), Standing(40, 900, 0), Standing(-2, 1_800_000, 1_800_000))
    assert header_fields(rules, (*standings[:2], Standing(8, 60_000, 0)), 1000.7) == {
        "ratelimit-policy": '"key-60s";q=600;w=60, "app-1s";q=100;w=1, "ip-3600s";q=9;w=3600',
        "ratelimit": '"key-60s";r=500;t=10, "app-1s";r=40;t=1, "ip-3600s";r=8;t=60',
        "x-ratelimit-limit": "400",
        "x-ratelimit-remaining": "40",
        "x-ratelimit-reset": "1001",
    }
    used_up = header_fields(rules, standings, 1000)
    assert used_up["ratelimit"].endswith('"ip-3600s";r=0;t=1800')
    assert (used_up["x-ratelimit-remaining"], used_up["x-ratelimit-reset"]) == ("0", "2800")


def test_seconds_are_rounded_up() -> None:
    assert [seconds(ms) for ms in (0, 1, 999, 1000, 1001)] == [0, 1, 1, 1, 2]
