"""`LiteLLMGateway` and `GatewayConfig` where programs written for the first form of the helpers import them from.

They wrote `from ....litellm_gateway.gateway import LiteLLMGateway`, and change `....litellm_gateway` to `gatewayd`. All
other names they took from the package itself.
"""

from gatewayd.client.config import GatewayConfig
from gatewayd.client.gateway import LiteLLMGateway

__all__ = ["GatewayConfig", "LiteLLMGateway"]
