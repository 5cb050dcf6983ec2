"""What nouns check of themselves, as far as JSON Schema can say it: beside the nouns, since they are plain code.

That each bound is the noun's own is tested at its edge: what a schema lets through, the noun may still refuse, but
never the other way round.
"""

from collections.abc import Mapping
from typing import Any, Final

from harpoon.model import (
    agent,
    check,
    container,
    dependency,
    given,
    inputs,
    job,
    label,
    lifecycle,
    name,
    namespace,
    operation,
    orders,
    rebalance,
    rules,
    run_orders,
    run_repairs,
    secret,
    shown,
    targets,
    template,
    tombstone,
    versions,
    workflow,
)

Schema = Mapping[str, Any]

_NAME: Final = {"pattern": name.NAME_PATTERN}
_TAGS: Final = {
    "maxProperties": name.TAGS_MAX,
    "propertyNames": {"minLength": 1, "maxLength": name.TAG_KEY_MAX},
}
_SCALE: Final = {"minimum": 0, "maximum": job.SCALE_MAX}
_COUNT: Final = {"minimum": 1, "maximum": 100}
_AMOUNT: Final = {"minimum": 0, "maximum": namespace.COUNT_MAX}
_PORT: Final = {"minimum": 1, "maximum": 65535}
_RULES: Final = {"maxItems": rules.RULES_MAX}
_COMMAND: Final = {"minItems": 1}
_REFERENCE: Final = {"pattern": f"{name.NAME_PATTERN.removesuffix('$')}/{secret.KEY_PATTERN.removeprefix('^')}"}
_KEYS: Final = {"maxProperties": secret.KEYS_MAX, "propertyNames": {"pattern": secret.KEY_PATTERN}}
_TEXT: Final = {"maxLength": template.TEXT_MAX}
_WORDS: Final = {"propertyNames": {"pattern": label.WORD_PATTERN}}
_HANDLER: Final = {"pattern": operation.HANDLER_PATTERN}
_EXPRESSION: Final = {"minLength": 1, "maxLength": operation.EXPRESSION_MAX}
_LENGTH: Final = {"minimum": 0}

#: Beside the type of a field; for a mapping ``values`` is about each of its values.
FIELDS: Final[Mapping[tuple[type, str], Schema]] = {
    (job.Spec, "scale"): _SCALE,
    (job.Spec, "depends_on"): {"maxItems": job.DEPENDENCIES_MAX},
    (dependency.Dependency, "job"): _NAME,
    (dependency.Dependency, "run"): {"pattern": tombstone.RUN_ID_PATTERN},
    (job.Update, "surge"): _SCALE,
    (job.Update, "unavailable"): _SCALE,
    (job.Metadata, "name"): _NAME,
    (job.Metadata, "namespace"): _NAME,
    (job.Metadata, "tags"): {**_TAGS, "values": {"maxLength": name.TAG_MAX}},
    (run_orders.RunStart, "tags"): {**_TAGS, "values": {"maxLength": name.TAG_MAX}},
    (run_repairs.RunFork, "tags"): {**_TAGS, "additionalProperties": {"maxLength": name.TAG_MAX}},
    (rules.PlacementRules, "require"): _RULES,
    (rules.PlacementRules, "prefer"): _RULES,
    (rules.PlacementRules, "spread"): _RULES,
    (rules.PlacementRules, "agents"): {"maxItems": job.COMPLETIONS_MAX},
    (rules.Preference, "weight"): {"minimum": -rules.WEIGHT_MAX, "maximum": rules.WEIGHT_MAX, "not": {"const": 0}},
    (given.Endpoints, "endpoints"): {
        "pattern": f"{name.NAME_PATTERN.removesuffix('$')}/{name.PORT_NAME_PATTERN.removeprefix('^')}"
    },
    (given.SecretVariable, "secret"): _REFERENCE,
    (given.SecretFile, "secret"): _REFERENCE,
    (given.SecretFile, "at"): {"pattern": secret.KEY_PATTERN},
    (check.HttpProbe, "path"): {"pattern": r"^/[^\x00-\x20\x7f]*$"},
    (check.ExecProbe, "command"): _COMMAND,
    (check.Check, "ready_after"): _COUNT,
    (check.Check, "fail_after"): _COUNT,
    (lifecycle.Backoff, "factor"): {"minimum": 1, "maximum": 100},
    (lifecycle.Backoff, "jitter"): {"minimum": 0, "maximum": 1},
    (lifecycle.Restart, "attempts"): {"minimum": 0, "maximum": 1000},
    (template.TaskTemplate, "image"): {"pattern": container.IMAGE_PATTERN, "maxLength": container.IMAGE_MAX},
    (template.TaskTemplate, "network"): {"pattern": container.NETWORK_PATTERN},
    (template.TaskTemplate, "capabilities"): {"maxItems": container.CAPABILITIES_MAX},
    (template.TaskTemplate, "env"): {
        "maxProperties": template.ENV_MAX,
        "propertyNames": {"pattern": name.VARIABLE_PATTERN},
        "values": _TEXT,
    },
    (template.TaskTemplate, "secrets"): {"maxItems": template.SECRET_FILES_MAX},
    (template.TaskTemplate, "ports"): {
        "maxProperties": template.PORTS_MAX,
        "propertyNames": {"pattern": name.PORT_NAME_PATTERN},
        "values": {"minimum": 0, "maximum": 65535},
    },
    (template.TaskTemplate, "working_directory"): {"pattern": "^/"},
    (template.TaskTemplate, "user"): {"pattern": template.USER_PATTERN},
    (template.Resources, "pids"): {"minimum": 0, "maximum": template.PIDS_MAX},
    (template.TaskTemplate, "checks"): {"maxItems": template.CHECKS_MAX},
    (namespace.NamespaceMetadata, "name"): _NAME,
    (namespace.Quota, "tasks"): _AMOUNT,
    (namespace.Quota, "jobs"): _AMOUNT,
    (secret.SecretChange, "data"): _KEYS,
    (secret.SecretChange, "base64"): _KEYS,
    (agent.Agent, "name"): _NAME,
    (agent.Agent, "endpoint"): {"pattern": "^https?://"},
    (agent.PortRange, "low"): _PORT,
    (agent.PortRange, "high"): _PORT,
    (shown.Scaling, "scale"): _SCALE,
    (rebalance.Rebalancing, "max_moves"): {"minimum": 1, "maximum": rebalance.MOVES_MAX},
    (rebalance.Rebalancing, "namespace"): _NAME,
    (rebalance.Rebalancing, "job"): _NAME,
    (shown.Documents, "documents"): {"minItems": 1},
    (versions.Rollback, "version"): {"minimum": 1},
    (workflow.WorkflowSpec, "operations"): {"minProperties": 1, "maxProperties": workflow.OPERATIONS_MAX, **_WORDS},
    (workflow.WorkflowSpec, "inputs"): {"maxProperties": inputs.INPUTS_MAX, **_WORDS},
    (workflow.WorkflowSpec, "outputs"): {"maxProperties": workflow.OUTPUTS_MAX, **_WORDS},
    (inputs.InputSchema, "enum"): {"maxItems": inputs.ENUM_MAX},
    (inputs.InputSchema, "minLength"): _LENGTH,
    (inputs.InputSchema, "maxLength"): _LENGTH,
    (inputs.InputSchema, "properties"): {"maxProperties": inputs.PROPERTIES_MAX},
    (inputs.InputSchema, "required"): {"maxItems": inputs.PROPERTIES_MAX},
    (operation.Operation, "worker"): _HANDLER,
    (operation.Operation, "choose"): {"minItems": 1, "maxItems": operation.CHOICES_MAX},
    (operation.Operation, "visits"): {"minimum": 1, "maximum": operation.VISITS_MAX},
    (operation.Operation, "needs"): {"maxItems": targets.TARGETS_MAX},
    (operation.Operation, "next"): {"maxProperties": operation.LABELS_MAX, **_WORDS},
    (operation.Operation, "labels"): {"maxItems": operation.LABELS_MAX},
    (operation.Attempts, "attempts"): {"minimum": 1, "maximum": operation.ATTEMPTS_MAX},
    (operation.Wait, "signal"): _HANDLER,
    (operation.Wait, "key"): _EXPRESSION,
    (operation.Wait, "until"): _EXPRESSION,
    (operation.Choice, "when"): _EXPRESSION,
    (operation.Choice, "label"): {"pattern": label.WORD_PATTERN},
    (operation.Choice, "else"): {"pattern": label.WORD_PATTERN},
    (operation.Concurrency, "key"): _EXPRESSION,
    (operation.Concurrency, "limit"): {"minimum": 1, "maximum": operation.CONCURRENCY_MAX},
}


def _exactly_one(*names: str) -> Schema:
    """Return the schema of an object that has one of these members, and the others not or null."""
    return {
        "oneOf": [{"required": [one], "properties": {one: {"not": {"type": "null"}}}} for one in names],
    }


#: Beside the fields of a noun.
NOUNS: Final[Mapping[type, Schema]] = {
    check.Check: _exactly_one("http", "tcp", "exec"),
    rules.Requirement: _exactly_one("equals", "in", "not_in", "exists"),
    rules.Preference: _exactly_one("equals", "in", "not_in", "exists"),
    operation.Operation: _exactly_one(*operation.KINDS),
    dependency.Dependency: _exactly_one("job", "run"),
    orders.JobOrder: _exactly_one(*orders.VERBS),
    operation.Wait: _exactly_one("signal", "until", "for", "callback"),
    operation.Choice: _exactly_one("when", "else"),
}
