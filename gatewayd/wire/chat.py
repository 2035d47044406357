"""OpenAI's chat completions API: the dialect of most clients and of most providers.

Thoughts and their signatures are where LiteLLM has them (`reasoning_content`, `thinking_blocks`), so a client that
sends an answer back sends them back too. Gemini's signatures of calls are where Google's own chat API has them.
"""

from __future__ import annotations

from gatewayd.wire.chat_answer import read_answer as read_answer
from gatewayd.wire.chat_answer import read_error as read_error
from gatewayd.wire.chat_answer import write_answer as write_answer
from gatewayd.wire.chat_request import read_request as read_request
from gatewayd.wire.chat_request_out import write_request as write_request
from gatewayd.wire.chat_stream import Reader as Reader
from gatewayd.wire.chat_stream_out import Writer as Writer
