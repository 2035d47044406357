"""gatewayd: a local OpenAI-compatible LLM gateway; one YAML file, edited live."""
