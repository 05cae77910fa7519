"""YAML as people write config files: plain values, each key once, errors with their line.

PyYAML alone reads YAML 1.1, where ``on`` and ``no`` are true and false, ``010`` is 8 and ``1:30`` is 90, and takes the
last of two equal keys.
"""

import re
from typing import Any

import yaml

MOST_DEPTH = 50  # of values within values
PLAIN = "tag:yaml.org,2002:"
TEXT, MERGE = f"{PLAIN}str", f"{PLAIN}merge"
# What matches none is text. Nothing matches that is text in YAML 1.1, by which configs are dumped.
VALUES = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(?:0|[1-9][0-9_]*)",
    "float": r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "merge": r"<<",
}


class YamlLoader(yaml.SafeLoader):
    """Builds text, numbers, true, false, nothing, lists and mappings. All errors are ``yaml.MarkedYAMLError`` or a
    ``yaml.reader.ReaderError``."""

    yaml_implicit_resolvers = {
        None: [(PLAIN + name, re.compile(f"(?:{pattern})$")) for name, pattern in VALUES.items()]
    }
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """PyYAML's hook: the next value. Refuses tags and deep nesting."""
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            raise build_error(f"{event.tag}: no tags are read here", event.start_mark)
        if self.depth >= MOST_DEPTH:
            raise build_error(f"nested more than {MOST_DEPTH} deep", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """PyYAML's hook: a mapping. Its keys are text, as they are written, and none stands there twice."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise build_error("a key is a word, no list and no mapping", key.start_mark)
            if key.value in seen:
                raise build_error(f"the key {key.value} stands there twice", key.start_mark)
            seen.add(key.value)
        node.value = [
            (key if key.tag == MERGE else yaml.ScalarNode(TEXT, key.value), value) for key, value in node.value
        ]
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """PyYAML's hook: put the keys of ``<<`` into the mapping. Each is kept once, so that nothing grows without
        end."""
        super().flatten_mapping(node)
        node.value = list({key.value: (key, value) for key, value in node.value}.values())

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """PyYAML's hook: the value of a node. A number that Python refuses is an error with its line."""
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise build_error(str(error), node.start_mark) from error


def build_error(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    """An error at a place in the text."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def describe_yaml_error(error: yaml.YAMLError) -> str:
    """``line 3: what is wrong there``; without the line for a character that may stand nowhere."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    context = getattr(error, "context", None)
    words = f"{context}: {problem}" if context and problem else problem or str(error)
    return f"line {mark.line + 1}: {words}" if mark else words
