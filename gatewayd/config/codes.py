"""The closed list of problem codes: every `Problem.code` a configuration can earn, and what it means."""

from __future__ import annotations

PROBLEM_CODES: dict[str, str] = {
    # reading files
    "config_missing": "The file does not exist, or is a link to a file that does not exist.",
    "config_unreadable": "The file cannot be opened or read: permissions, a loop of links, an I/O error.",
    "config_not_a_file": "The path names a directory, a pipe, a socket or a device.",
    "config_too_large": "The configuration files together hold more bytes than 16 MiB.",
    "config_empty": "The file holds no YAML value: it is empty, or has comments only, or is `null`.",
    "config_not_mapping": "The file's top level is a list or a scalar; it must be `key: value` pairs.",
    "config_limit": "More nesting, aliases, values, included files or problems than a configuration may have.",
    "config_value": "A configuration given from code holds a value that no YAML file could hold.",
    "config_reader_failed": "The process that reads the configuration crashed, hung or sent no result.",
    # YAML
    "yaml_encoding": "The file is not UTF-8.",
    "yaml_character": "The file holds a character that YAML forbids, such as NUL or another control character.",
    "yaml_syntax": "The file is not well-formed YAML.",
    "yaml_documents": "The file holds more than one YAML document.",
    "yaml_alias": "An alias names no anchor or the value around it, or an anchor is defined twice.",
    "yaml_merge": "The value of a merge key `<<` is neither a mapping nor a list of mappings.",
    "yaml_duplicate_key": "A key stands twice in one mapping; YAML would silently keep the last.",
    "yaml_key": "A key is not a string: YAML reads it as a number, a boolean, a date or null.",
    "yaml_tag": "A tag such as `!!python/object` or `!secret` that a configuration may not use.",
    "yaml_value": "A value looks like a number, date or boolean but cannot be one.",
    # include
    "include_invalid": "`include` is not a list of file names, or stands in a configuration that has no file.",
    "include_missing": "An included file does not exist.",
    "include_cycle": "A file includes itself, directly or through others.",
    "include_outside": "An included file lies outside the folder of the main file.",
    "include_replaced": "An included file replaces a whole section; sections are not merged key by key.",
    "include_no_match": "A pattern under `include` matches no file.",
    "include_elsewhere": "An included file was found beside the main file, not beside the file that includes it.",
    # references to secrets and the environment
    "reference_unresolved": "An environment variable, secret file or credential is missing, empty or unreadable.",
    "environment_blocked": "`environment_variables` sets a name that may not be changed from a configuration.",
    "environment_value": "An entry of `environment_variables` is no text, or its name cannot be a variable.",
}
