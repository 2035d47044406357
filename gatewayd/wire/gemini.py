"""Google's Gemini API: with a key, and on Vertex AI, as an upstream; and as what google-genai asks for.

Gemini's signatures of thoughts sit on parts of any kind. They are kept on the block they came with, and on the way
through other APIs in the id of the call (`gatewayd.wire.signatures`) or beside the thought.
"""

from __future__ import annotations

from gatewayd.wire.gemini_answer import read_answer as read_answer
from gatewayd.wire.gemini_answer import write_answer as write_answer
from gatewayd.wire.gemini_error import gemini_error_body as gemini_error_body
from gatewayd.wire.gemini_error import read_error as read_error
from gatewayd.wire.gemini_error import retry_delay as retry_delay
from gatewayd.wire.gemini_request import read_request as read_request
from gatewayd.wire.gemini_request_out import write_request as write_request
from gatewayd.wire.gemini_stream import Reader as Reader
from gatewayd.wire.gemini_stream_out import Writer as Writer
