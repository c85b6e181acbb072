"""How fields that hold objects look in JSON: a retriever's schema and dump name them, and hold no object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

__all__ = ["FilterField", "IndexField", "StageField"]


class _Field:
    """Annotation of a field: its JSON schema, and what a dump as JSON holds."""

    def __init__(self, description: str, kind: str | list[str], show: Any) -> None:
        self.schema = {"type": kind, "description": description}
        self.show = show

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        schema: Any = handler(source)
        schema["serialization"] = core_schema.plain_serializer_function_ser_schema(
            self.show, when_used="json-unless-none"
        )
        return cast(core_schema.CoreSchema, schema)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(self.schema)


def _index(index: Any) -> Any:
    path = getattr(index, "path", None)
    return {"index": type(index).__name__} if path is None else str(path)


def _filter(filter: Any) -> Any:
    return dict(filter) if isinstance(filter, Mapping) else {"function": getattr(filter, "__name__", "filter")}


IndexField: Final = _Field(
    "Folder of the index; an object for one in memory or elsewhere.", ["string", "object"], _index
)
FilterField: Final = _Field("Conditions on metadata.", ["object", "null"], _filter)
StageField: Final = _Field("Name of the class.", ["string", "null"], lambda stage: type(stage).__name__)
