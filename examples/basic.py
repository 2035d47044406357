"""A text from a prompt. Needs OPENAI_API_KEY."""

import openai

from gatewayd import create_gateway, generate_text

with create_gateway(providers=["openai"], default_model="gpt-4o-mini") as gateway:
    print(generate_text(gateway, "Say hello in five words."))

    # A conversation is a list of messages; further parameters go to the API.
    conversation = [
        {"role": "system", "content": "You answer in one sentence."},
        {"role": "user", "content": "What is a gateway?"},
    ]
    print(generate_text(gateway, conversation, model="gpt-4o", temperature=0.2, max_tokens=100))

    # Errors are those of the openai package.
    try:
        generate_text(gateway, "Hello?", model="a-model-that-is-not-there")
    except openai.NotFoundError as error:
        print("no such model:", error.code)
