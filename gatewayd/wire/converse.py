"""Amazon Bedrock's Converse API, as an upstream: requests are JSON, streams are AWS event-stream frames.

Claude's thoughts have Anthropic's signatures, which are good on every cloud, so their origin is `messages`.
"""

from __future__ import annotations

from gatewayd.wire.converse_answer import read_answer as read_answer
from gatewayd.wire.converse_error import read_error as read_error
from gatewayd.wire.converse_request_out import write_request as write_request
from gatewayd.wire.converse_stream import Reader as Reader
from gatewayd.wire.converse_stream import frame_event as frame_event
