"""The rules of the package that a reader relies on: size of files, unique names, a test file for each source file.

Which folder may import which is in pyproject.toml (import-linter): `lint-imports` checks it.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gatewayd"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))
MAX_LINES = 400

SHARED_NAMES = {
    "ROUTES": "one for each module of web.endpoints",
    "Answer": "of an upstream, and of the neutral form of a conversation",
    "Connection": "to an upstream, and from a client",
    "Deadlines": "of requests, and of connections",
    "Request": "to the gateway, and of the neutral form of a conversation",
    "Reader": "one for each dialect, and their protocol in wire.events",
    "Writer": "one for each dialect, and their protocol in wire.events",
    "read_answer": "one for each dialect",
    "read_error": "one for each dialect",
    "read_request": "one for each dialect",
    "write_answer": "one for each dialect",
    "write_error": "one for each dialect",
    "write_request": "one for each dialect",
}
"""Public names that several modules define, and why. Do not add any."""

TESTED_BY = {
    "test_daemon.py": ("config/overrides.py", "web/cannot_listen.py"),
    "access/test_secrets.py": ("secret.py",),
    "cli/test_check.py": ("config/checks/effective.py", "config/checks/support.py"),
    "cli/test_cli.py": ("cli/exits.py", "cli/output.py", "cli/parser.py", "cli/streams.py"),
    "client/test_compat.py": ("gateway.py",),
    "client/test_functions.py": ("client/fromfile.py",),
    "client/test_gateway.py": ("client/models.py",),
    "client/test_public_names.py": ("_version.py", "client/requirements.py"),
    "config/test_codes.py": ("config/problems.py",),
    "config/test_loader.py": ("config/result.py", "config/snapshot.py"),
    "config/test_nodes.py": ("config/document.py",),
    "config/test_validator.py": (
        "config/checks/deployments.py",
        "config/checks/target.py",
        "config/checks/values.py",
    ),
    "config/schema/test_export.py": ("config/schema/own.py", "config/schema/root.py", "config/schema/router.py"),
    "config/schema/test_litellm_keys.py": (
        "config/schema/callbacks.py",
        "config/schema/deployment.py",
        "config/schema/general.py",
        "config/schema/litellm.py",
        "config/tables.py",
    ),
    "docs/test_docs.py": ("error_codes.py", "errors.py", "verdicts.py"),
    "e2e/test_activation.py": ("web/activation.py",),
    "e2e/test_signals.py": ("cli/run.py", "cli/signals.py"),
    "e2e/test_start.py": ("process.py",),
    "e2e/test_workers.py": ("workers/handle.py", "workers/supervisor.py", "workers/worker.py"),
    "engine/test_incidents.py": ("upstream/local.py",),
    "observe/test_log.py": ("observe/escape.py",),
    "reload/test_last_good.py": ("config/lastgood.py",),
    "routing/test_plan.py": ("routing/candidate.py",),
    "upstream/test_detours.py": ("observe/detours.py",),
    "upstream/litellm/test_direct_stream.py": ("upstream/litellm/push_iterator.py",),
    "upstream/test_forward.py": ("upstream/base.py", "upstream/missing.py"),
    "upstream/test_group_name_in_answers.py": ("upstream/naming.py",),
    "upstream/test_images.py": ("upstream/inside.py",),
    "upstream/test_key_redaction.py": ("upstream/hiding.py",),
    "upstream/test_rewrite.py": ("upstream/messages.py",),
    "upstream/test_stream_in_one_piece.py": ("upstream/onepiece.py",),
    "upstream/litellm/test_translate.py": ("upstream/litellm/answers.py",),
    "upstream/test_transport.py": ("upstream/narrow.py",),
    "upstream/test_vectors.py": ("float32.py",),
    "data_plane/test_converted.py": ("upstream/converted.py", "wire/converters.py"),
    "data_plane/test_responses_kept.py": ("web/endpoints/responses.py",),
    "web/endpoints/test_model_endpoints.py": ("web/endpoints/ask.py",),
    "web/test_fairness.py": ("web/turns.py",),
    "web/test_kept_heads.py": ("engine/head.py",),
    "engine/test_render.py": ("wire/anthropic.py",),
    "web/test_app.py": ("engine/client.py", "web/handler.py"),
    "web/test_request_life.py": ("engine/request.py",),
    "web/test_router.py": ("web/unknown.py",),
    "web/test_segments.py": ("web/pieces.py",),
    "wire/test_chat.py": (
        "wire/chat_answer.py",
        "wire/chat_request.py",
        "wire/chat_request_out.py",
        "wire/chat_stream.py",
        "wire/chat_stream_out.py",
        "wire/chat_tools.py",
    ),
    "wire/test_conversation.py": ("wire/blocks.py", "wire/events.py"),
    "wire/test_converse.py": ("wire/converse_answer.py", "wire/converse_stream.py"),
    "wire/test_converse_request.py": (
        "wire/converse_blocks.py",
        "wire/converse_model.py",
        "wire/converse_request_out.py",
    ),
    "wire/test_gemini.py": (
        "wire/gemini_answer.py",
        "wire/gemini_common.py",
        "wire/gemini_grounding.py",
        "wire/gemini_parts.py",
    ),
    "wire/test_gemini_request.py": ("wire/gemini_media.py", "wire/gemini_model.py", "wire/gemini_request_out.py"),
    "wire/test_gemini_stream.py": ("wire/gemini_stream_out.py",),
    "wire/test_responses.py": (
        "wire/responses_answer.py",
        "wire/responses_items.py",
        "wire/responses_object.py",
        "wire/responses_request.py",
        "wire/responses_request_out.py",
        "wire/responses_tools.py",
    ),
    "wire/test_responses_stream.py": ("wire/responses_output.py", "wire/responses_stream_out.py"),
    "wire/test_messages.py": (
        "wire/messages_answer.py",
        "wire/messages_blocks.py",
        "wire/messages_reasoning.py",
        "wire/messages_request.py",
        "wire/messages_request_out.py",
        "wire/messages_stream.py",
        "wire/messages_stream_out.py",
        "wire/messages_tools.py",
    ),
    "wire/test_sse.py": ("wire/sse_decoder.py",),
    "workers/test_channel.py": ("workers/sockets.py",),
}
"""Source files without a test file of the same name, by the file that tests them."""


def public_names(path: Path) -> set[str]:
    """Names that a module defines at its top level, without a leading underscore."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case _:
                pass
    return {name for name in names if not name.startswith("_")}


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {str(path): length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_a_public_name_means_one_thing() -> None:
    modules: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        for name in public_names(path):
            modules[name].append(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in modules.items() if len(found) > 1 and name not in SHARED_NAMES} == {}
    assert [name for name in SHARED_NAMES if len(modules[name]) < 2] == []


def test_each_source_file_has_a_test_file() -> None:
    tested_elsewhere = {source for sources in TESTED_BY.values() for source in sources}
    missing = set()
    for path in SOURCES:
        source = path.relative_to(PACKAGE)
        if not (ROOT / "tests" / source.parent / f"test_{source.name}").exists():
            missing.add(str(source))
    assert missing == tested_elsewhere
    assert [name for name in TESTED_BY if not (ROOT / "tests" / name).exists()] == []
