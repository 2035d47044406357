"""A configuration of one's own: load balancing, and the same as a file for the daemon. Needs OPENAI_API_KEY."""

from gatewayd import ConfigValidator, LiteLLMGateway, configure_gateway, generate_text

config = configure_gateway(
    model_list=[
        # Two deployments of one model group: three of four requests go to the first.
        {
            "model_name": "smart",
            "litellm_params": {"model": "openai/gpt-4o", "api_key": "os.environ/OPENAI_API_KEY", "weight": 3},
        },
        {
            "model_name": "smart",
            "litellm_params": {"model": "openai/gpt-4.1", "api_key": "os.environ/OPENAI_API_KEY", "weight": 1},
        },
        # Answers without a provider, for when nothing else does.
        {"model_name": "sorry", "litellm_params": {"model": "openai/none", "mock_response": "Please try again later."}},
    ],
    fallbacks=["sorry"],
    timeout=30.0,
    max_retries=2,
)

with LiteLLMGateway(config) as gateway:
    print(generate_text(gateway, "Say hello."))  # the first group is the default model
    print(gateway.health().models)

# The same for `gatewayd run --config`: keys are references to the environment, never values.
print(config.to_yaml())
print("revision", ConfigValidator().validate(config).revision)
