"""YAML 1.2: a recipe's text as plain values, by the core schema, of bounded size and depth.

PyYAML reads YAML 1.1, in which `no` and `NO` are false, `010` is eight and `1e-5` is text. The core
schema of YAML 1.2 (yaml.org/spec/1.2.2, Section 10.3) has none of these surprises.
"""

import re
from typing import Any

import yaml

MAX_BYTES = 2**20
"""Of a recipe's file; the largest bundled one has 3 kB."""

MAX_DEPTH = 20
"""Of mappings and lists within each other."""

MAX_VALUES = 20_000
"""Values of a recipe, those that an alias repeats counted each time."""

_INT = r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
_FLOAT = (
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_CORE = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (_INT, list("-+0123456789")),
    "float": (_FLOAT, list("-+.0123456789")),
}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the core schema of YAML 1.2, and no field that comes twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own form

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # Else the last one would count in silence.
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            problem = f"the field {twice[0]} comes twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return yaml.constructor.SafeConstructor.construct_mapping(self, node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave `<<` a name like any other: YAML 1.2 has no merge keys."""

    def integer(self, node: yaml.ScalarNode) -> int:
        """A decimal number, whatever zeros it begins with; 0o and 0x say another base."""
        text = str(self.construct_scalar(node))
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)


for kind, (pattern, first) in _CORE.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern})$"), first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.integer)


def read_yaml(text: str) -> Any:
    """The value of a YAML 1.2 document; a yaml.YAMLError where it is none, or is out of bounds."""
    if len(text.encode()) > MAX_BYTES:
        raise yaml.YAMLError(f"it has over {MAX_BYTES} bytes")
    _check_depth(text)
    value = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    _check_size(value)
    return value


def _check_depth(text: str) -> None:
    """Count the depth by the events, before anything is built: PyYAML builds by recursion."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"it is nested over {MAX_DEPTH} levels deep")


def _check_size(value: Any) -> None:
    """Walk over all values, each alias anew, and stop where they are too many."""
    waiting, seen = [(value, 0)], 0
    while waiting:
        one, depth = waiting.pop()
        seen += 1
        if seen > MAX_VALUES or depth > MAX_DEPTH:
            raise yaml.YAMLError("its aliases make it too large")
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        waiting += [(part, depth + 1) for part in inner]


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes what either version would not read as text."""

    def text(self, value: str) -> yaml.ScalarNode:
        """Text, in quotes where the core schema would take it for something else."""
        patterns = (pattern for pattern, _ in _CORE.values())
        quoted = any(re.fullmatch(pattern, value) for pattern in patterns)
        # PyYAML takes some breaks of lines for one another where they are not escaped.
        style = '"' if not value.isprintable() else "'" if quoted else None
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _Dumper.text)


def write_yaml(value: Any) -> str:
    """A value as YAML that `read_yaml` gives back, its fields in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
