"""The stage that limits rates: which plan a call falls under, whom each rule counts, and what the answer says of it."""

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prometheus_client import Counter
from starlette.requests import Request

from hub import metrics
from hub.core.addresses import Network
from hub.core.client_address import client_address, counted_as
from hub.core.errors import HubError, RateLimited
from hub.core.limits import ANONYMOUS_PLAN, DEFAULT_PLAN, Plan, Rule, header_fields, seconds
from hub.settings import Settings, SettingsError
from hub.store.limits import Gate, Verdict
from hub.web.operation import Call, Operation

UNLIMITED: Final = frozenset({"/health/live", "/health/ready", "/metrics"})
"""What looks after the hub must get through when it is busiest."""


class RateLimits:
    """Limits every operation by the plans of HUB_PLANS. An instance is the stage."""

    def __init__(self, settings: Settings) -> None:
        self._plans: Mapping[str, Plan] = settings.plans
        self._trusted = settings.trusted_proxies
        self._is_open = settings.limits_fail == "open"
        self._rules: dict[tuple[str, str, str], tuple[Rule, ...]] = {}

    async def __call__(self, call: Call[Any]) -> None:
        """Let the call go on, and note in its headers how its limits stand. Raises RateLimited, StoreUnavailable."""
        if call.operation.path in UNLIMITED:
            return
        gate: Gate | None = None
        try:
            gate = await self._gate(call)
            if gate is None or not gate.rules:
                return
            verdict = gate.pass_unasked() or await self._ask(call, gate)
        except HubError:
            if not self._is_open:
                raise
            verdict = None
        if verdict is None or gate is None:
            _count(() if gate is None else gate.rules, "unchecked")
            return
        call.headers.update(header_fields(gate.rules, verdict.standings, time.time()))
        if verdict.refused is None:
            _count(gate.rules, "allowed")
        else:
            _count((gate.rules[verdict.refused],), "refused")
            raise _refusal(gate.rules[verdict.refused], seconds(verdict.standings[verdict.refused].more))

    async def _gate(self, call: Call[Any]) -> Gate | None:
        caller = call.caller
        if caller is None:
            app, name = "", ANONYMOUS_PLAN
        else:
            # What the caller was judged by is remembered together with its app, so this asks the store no more.
            app, name = caller.app, (await call.resources.apps.verifying(caller.app)).app.plan or DEFAULT_PLAN
            name = name if name in self._plans else DEFAULT_PLAN
        operation = call.operation
        key = (name, operation.method, operation.path)
        rules = self._rules.get(key)
        if rules is None:
            plan = self._plans.get(name)
            rules = () if plan is None else plan.of(f"{operation.method} {operation.path}")
            self._rules[key] = rules
        if not rules:
            return None
        subjects = tuple([self._subject(rule, call) for rule in rules])
        return call.resources.limits.gate(app, f"{name} {operation.method} {operation.path}", rules, subjects)

    def _subject(self, rule: Rule, call: Call[Any]) -> str | None:
        if rule.by == "app":
            return ""
        if rule.by == "ip":
            return counted_as(address_of(call.request, self._trusted))
        caller = call.caller
        if caller is None:
            return None
        return caller.key_id if rule.by == "key" else caller.user

    async def _ask(self, call: Call[Any], gate: Gate) -> Verdict | None:
        if self._is_open and not call.resources.link.is_up:  # don't let each request wait to hear it
            return None
        return await gate.ask()


def address_of(request: Request, trusted: tuple[Network, ...]) -> str:
    """The client's address, as far as the deployment's proxies are to be believed."""
    client = request.scope.get("client")
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")) if trusted else ""
    return client_address(client[0] if client else None, forwarded, trusted)


def _count(rules: Sequence[Rule], result: str) -> None:
    """Count what was decided by each rule; no rule is known where the store couldn't say which plan counts."""
    for rule in rules:
        _counter(rule.name, rule.by, result).inc()
    if not rules:
        _counter("unknown", "unknown", result).inc()


@functools.lru_cache(maxsize=1024)
def _counter(limit: str, by: str, result: str) -> Counter:
    return metrics.LIMITED.labels(limit, by, result)


def _refusal(rule: Rule, wait: int) -> RateLimited:
    message = (
        f"The limit {rule.name} is used up: {rule.limit} requests in {rule.period} s; try again in {max(1, wait)} s"
    )
    return RateLimited.by(rule.name, message, max(1, wait))


def check_routes(plans: Mapping[str, Plan], operations: tuple[Operation, ...]) -> None:
    """Raise SettingsError for a rule of an operation that there is not: it would limit nothing."""
    known = {f"{operation.method} {operation.path}" for operation in operations} - {f"GET {path}" for path in UNLIMITED}
    for plan in plans.values():
        for rule in plan.rules:
            if rule.route is not None and rule.route not in known:
                raise SettingsError(
                    f"HUB_PLANS names {rule.route!r} in the plan {plan.name!r}, which is no operation that is limited; "
                    "allowed: a method and a path as the documents write it, such as PATCH /v1/endpoints/{id}"
                )
