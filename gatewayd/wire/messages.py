"""Anthropic's Messages API: the dialect of Claude Code and of Anthropic's SDKs.

A thought's signature is kept whatever API it comes from: one that is not Anthropic's has the name of its dialect before
it, so it is told apart when the client sends it back.
"""

from __future__ import annotations

from gatewayd.wire.messages_answer import read_answer as read_answer
from gatewayd.wire.messages_answer import read_error as read_error
from gatewayd.wire.messages_answer import write_answer as write_answer
from gatewayd.wire.messages_request import read_request as read_request
from gatewayd.wire.messages_request_out import write_request as write_request
from gatewayd.wire.messages_stream import Reader as Reader
from gatewayd.wire.messages_stream_out import Writer as Writer
