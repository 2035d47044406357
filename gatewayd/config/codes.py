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
    # keys
    "unknown_key": "No such key. In the `gatewayd` section an error; in litellm's sections it would have no effect.",
    "misplaced_key": "An unknown key of litellm_params is sent to the provider, but looks like a mistyped setting.",
    "missing_key": "A required key is missing.",
    "ignored_key": "A key of litellm that gatewayd knows and does not use; the message says why.",
    "unsupported_key": "A key that is not supported although it would protect something.",
    "unused_key": "A key that only deployments translated by litellm use, on one that is not.",
    "overridden_key": "The same setting stands in another section, and that one wins.",
    "approximated": "A setting that gatewayd carries out differently from litellm.",
    "no_models": "There is no `model_list`, or it is empty.",
    # values
    "wrong_type": "A value of the wrong kind, such as text where a number is expected.",
    "yaml_trap": "YAML 1.1 reads the value as something else than was surely meant: `no`, `12:30`, `010`, `1e3`.",
    "out_of_range": "A number that is too small or too large, or a text or list that must not be empty.",
    "invalid_value": "A value that is not one of those allowed, or holds what it must not hold.",
    "unexpanded_variable": "`${NAME}` outside the `gatewayd` section, where it is not looked up.",
    "invalid_url": "`api_base` is no usable address.",
    "too_many_problems": "Only the first problems are shown.",
    # names that lead to each other
    "unknown_group": "A fallback, alias or default model names a model group that does not exist.",
    "unused_fallback": "Fallbacks stand under a name that no model group has.",
    "fallback_self": "A model group is its own fallback.",
    "fallback_cycle": "Fallbacks lead back to where they started; each group is tried once for a request.",
    "alias_chain": "An alias names another alias.",
    "alias_hides_group": "An alias has the name of a model group, which thereby cannot be reached.",
    "duplicate_id": "Two deployments or credentials have the same id.",
    "unknown_credential": "`litellm_credential_name` names no entry of `credential_list`.",
    # deployments
    "unknown_provider": "The provider of a model is not known to litellm, or cannot be told from the model's name.",
    "wildcard_mismatch": "`model` holds a `*`, but `model_name` holds none that could fill it.",
    "missing_api_key": "The provider needs a key; there is none in the file, nor in its environment variable.",
    "missing_api_base": "The provider has no address of its own, and none is given.",
    "missing_api_version": "An Azure deployment without `api_version`; litellm's default is used.",
    "key_not_sent": "The provider's key from the environment is not sent to a custom `api_base`.",
    # the server
    "exposed_without_key": "A listener that other machines can reach, and no `master_key`.",
    "weak_master_key": "The `master_key` is short enough to be guessed.",
    "address_taken": "The same address is given twice.",
    "file_writable": "Other users may write the configuration.",
    "secret_readable": "Every user may read the configuration, and a secret stands in it.",
    # making it live
    "litellm_unavailable": "A deployment needs litellm, which could not be loaded.",
    "build_failed": "The configuration is valid but could not be made live.",
}
