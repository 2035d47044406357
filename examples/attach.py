"""Uses a daemon that runs already: `gatewayd run --config configs/quickstart.yaml`.

Without arguments it is looked for at $GATEWAYD_BASE_URL (with $GATEWAYD_API_KEY), else at http://127.0.0.1:4000/v1.
"""

from gatewayd import create_gateway, generate_text, stream_text

with create_gateway(default_model="demo") as gateway:
    health = gateway.health()
    if not health:
        raise SystemExit(health.reason)
    print("models:", ", ".join(health.models))

    print(generate_text(gateway, "Say hello."))
    for piece in stream_text(gateway, "Say it again."):
        print(piece, end="", flush=True)
    print()

    # The ready-made OpenAI client, for all that the short functions do not do.
    completion = gateway.openai.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "And once more."}]
    )
    print(completion.choices[0].message.content)
