"""Records on disk: the one schema, shards of whole speakers, and metadata.json, which says that they are complete."""

from pipelines.records.joined import join
from pipelines.records.metadata import (
    METADATA,
    SCHEMA_VERSION,
    Metadata,
    kept_encoder,
    marks_of,
    read_metadata,
    widths_of,
    write_metadata,
)
from pipelines.records.schema import SCHEMA, STORED, frames_of, parse, serialise
from pipelines.records.shards import (
    Example,
    named_if_corrupt,
    paths_of,
    plan_shards,
    read_examples,
    read_index,
    serialised_records,
    write_shard,
)

__all__ = [
    "METADATA",
    "SCHEMA",
    "SCHEMA_VERSION",
    "STORED",
    "Example",
    "Metadata",
    "frames_of",
    "join",
    "kept_encoder",
    "marks_of",
    "named_if_corrupt",
    "parse",
    "paths_of",
    "plan_shards",
    "read_examples",
    "read_index",
    "read_metadata",
    "serialise",
    "serialised_records",
    "widths_of",
    "write_metadata",
    "write_shard",
]
