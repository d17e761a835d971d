"""The whole asset graph as text. ``python -m tools.asset_graph`` updates the file that a test compares.

Assets, checks, jobs, sensors and resources, with everything about them that a person sees in Dagster's UI.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

import dagster as dg

SNAPSHOT = Path(__file__).parents[1] / "tests" / "unit" / "asset_graph.txt"


def describe(definitions: dg.Definitions) -> str:
    """Every definition of the code location, sorted by name within its kind."""
    repository = definitions.get_repository_def()
    sections = {
        "assets": _assets(repository),
        "checks": _checks(repository),
        "jobs": _jobs(repository),
        "schedules": ((schedule.name, {}) for schedule in repository.schedule_defs),
        "sensors": _sensors(repository),
        "resources": _resources(repository),
    }
    lines = []
    for title, entries in sections.items():
        lines.append(f"# {title}")
        for name, properties in sorted(entries, key=lambda entry: entry[0]):
            lines += [f"\n{name}", *_properties(properties)]
        lines.append("")
    return "\n".join(lines)


Entry = tuple[str, Mapping[str, object]]


def _properties(properties: Mapping[str, object]) -> Iterator[str]:
    for name, value in properties.items():
        if isinstance(value, Mapping) and value:
            yield f"  {name}:"
            yield from (indent(line, "  ") for line in _properties(value))
        elif value not in (None, "", [], {}):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"  {name}: " + indent(text, "    ").lstrip()


def _assets(repository: dg.RepositoryDefinition) -> Iterator[Entry]:
    graph = repository.asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        schema = node.metadata.get("dagster/column_schema")
        columns = schema.columns if isinstance(schema, dg.TableSchema) else []
        yield (
            key.to_user_string(),
            {
                "description": node.description,
                "external": not node.is_materializable or None,
                "group": node.group_name,
                "kinds": sorted(node.kinds),
                "owners": sorted(node.owners),
                "tags": sorted(tag for tag in node.tags if not tag.startswith("dagster/kind/")),
                "depends on": sorted(parent.to_user_string() for parent in node.parent_keys),
                "partitions": node.partitions_def,
                "backfill policy": node.backfill_policy,
                "metadata": sorted(node.metadata),
                "columns": {column.name: _column(column) for column in columns},
            },
        )


def _column(column: dg.TableColumn) -> str:
    constraints = [
        *(["unique"] if column.constraints.unique else []),
        *([] if column.constraints.nullable else ["not null"]),
    ]
    return " · ".join([column.type, *constraints, column.description or ""])


def _checks(repository: dg.RepositoryDefinition) -> Iterator[Entry]:
    graph = repository.asset_graph
    for key in graph.asset_check_keys:
        node = graph.get(key)
        yield (
            f"{key.asset_key.to_user_string()}: {key.name}",
            {"description": node.description, "blocking": node.blocking or None},
        )


def _jobs(repository: dg.RepositoryDefinition) -> Iterator[Entry]:
    for job in repository.get_all_jobs():
        if not job.name.startswith("__"):
            yield (
                job.name,
                {
                    "description": job.description,
                    "tags": [f"{name}={value}" for name, value in sorted(job.run_tags.items())],
                    "partitions": job.partitions_def,
                    "executor": job.executor_def.name,
                    "ops": {
                        node.name: _op(node.definition)
                        for node in sorted(job.nodes, key=lambda node: node.name)
                    },
                },
            )


def _op(definition: Any) -> Mapping[str, object]:
    return {
        "description": (definition.description or "").split("\n\n")[0],
        "config": _fields(definition.config_schema),
    }


def _sensors(repository: dg.RepositoryDefinition) -> Iterator[Entry]:
    for sensor in repository.sensor_defs:
        yield (
            sensor.name,
            {
                "description": sensor.description,
                "default status": sensor.default_status.value,
                "seconds between ticks": sensor.minimum_interval_seconds,
                "starts": sorted(target.job_name for target in sensor.targets),
            },
        )


def _resources(repository: dg.RepositoryDefinition) -> Iterator[Entry]:
    for name, resource in repository.get_top_level_resources().items():
        yield (name, {"description": resource.description, "fields": _fields(resource.config_schema)})


def _fields(schema: Any) -> Mapping[str, object]:
    fields = getattr(schema.config_type, "fields", None) or {}
    return {name: f"{_kind(field.config_type)} · {field.description}" for name, field in fields.items()}


def _kind(config_type: Any) -> str:
    """The name of a config type; one that is optional or a list names the type inside it."""
    inner = getattr(config_type, "inner_type", None)
    return _kind(inner) if inner is not None else str(config_type.given_name or config_type.key)


if __name__ == "__main__":
    from aboutness_assets.definitions import defs

    SNAPSHOT.write_text(describe(defs), encoding="utf-8")
