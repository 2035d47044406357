"""Two providers behind one gateway. Needs OPENAI_API_KEY and ANTHROPIC_API_KEY."""

from gatewayd import ConfigurationError, create_gateway, generate_text

try:
    gateway = create_gateway(
        providers=["openai", "anthropic"],
        default_model="gpt-4o-mini",
        # Tried in this order when the default model fails.
        fallbacks=["claude-haiku-5-5", "gpt-4o"],
    )
except ConfigurationError as error:
    # For example a key that is missing: the message says what to do about it.
    raise SystemExit(str(error)) from None

with gateway:
    print(generate_text(gateway, "Say hello."))
    # Any model of either provider can be named; the gateway knows whose it is.
    print(generate_text(gateway, "Say hello.", model="claude-sonnet-5-5"))
    print(generate_text(gateway, "Say hello.", model="openai/gpt-4.1"))
