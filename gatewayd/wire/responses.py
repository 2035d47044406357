"""OpenAI's Responses API: requests, answers, errors and streams into the neutral form and back.

The names are those that `gatewayd.wire.conversation` lists for every dialect.
"""

from gatewayd.wire.responses_answer import read_answer as read_answer
from gatewayd.wire.responses_answer import read_error as read_error
from gatewayd.wire.responses_answer import write_answer as write_answer
from gatewayd.wire.responses_request import read_request as read_request
from gatewayd.wire.responses_request_out import write_request as write_request
from gatewayd.wire.responses_stream import Reader as Reader
from gatewayd.wire.responses_stream_out import Writer as Writer
