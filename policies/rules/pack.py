"""The list of rules, and each of them as a policy of Pulumi's."""

from __future__ import annotations

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
)

from rules.buckets import BUCKET_NOT_PUBLIC
from rules.budget import BUDGET
from rules.capacity import ALLOWED_ACCELERATORS, ALLOWED_REGIONS, REACHABLE_SCALE, REPLICA_CEILING
from rules.containers import CONTAINER_IMAGE_PINNED, NO_TOKEN_IN_CLEAR
from rules.endpoints import DEDICATED_ENDPOINT
from rules.labels import REQUIRED_LABELS
from rules.logs import DEPLOYMENT_LOGS
from rules.roles import LEAST_PROJECT_ROLES, NO_BROAD_PROJECT_ROLES
from rules.rule import Resource, Rule

RULES: tuple[Rule, ...] = (
    BUDGET,
    REPLICA_CEILING,
    REACHABLE_SCALE,
    ALLOWED_REGIONS,
    ALLOWED_ACCELERATORS,
    REQUIRED_LABELS,
    NO_BROAD_PROJECT_ROLES,
    LEAST_PROJECT_ROLES,
    BUCKET_NOT_PUBLIC,
    NO_TOKEN_IN_CLEAR,
    CONTAINER_IMAGE_PINNED,
    DEDICATED_ENDPOINT,
    DEPLOYMENT_LOGS,
)


def policies() -> list[Policy]:
    """Every rule as a resource policy."""
    return [_policy(rule) for rule in RULES]


def _policy(rule: Rule) -> Policy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        # urn:pulumi:STACK::PROJECT::TYPE::NAME
        resource = Resource(
            type=args.resource_type, name=args.name, stack=args.urn.split(":")[2], props=args.props
        )
        for violation in rule.violations(resource, args.get_config()):
            report(violation, None)

    return ResourceValidationPolicy(
        name=rule.name,
        description=rule.description,
        validate=validate,
        enforcement_level=EnforcementLevel(rule.level),
        config_schema=PolicyConfigSchema({name: dict(schema) for name, schema in rule.config.items()})
        if rule.config
        else None,
    )
