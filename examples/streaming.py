"""A text as it is written. Needs OPENAI_API_KEY."""

import asyncio

from gatewayd import LiteLLMGateway, create_gateway, stream_text, stream_text_async


def by_thread(gateway: LiteLLMGateway) -> None:
    for piece in stream_text(gateway, "Tell me a story about a lighthouse."):
        print(piece, end="", flush=True)
    print()


async def by_coroutine(gateway: LiteLLMGateway) -> None:
    async for piece in stream_text_async(gateway, "Tell me a story about a harbour."):
        print(piece, end="", flush=True)
    print()


def only_the_beginning(gateway: LiteLLMGateway) -> None:
    # Leaving the loop cancels the request: the provider stops writing, and stops counting tokens.
    for number, piece in enumerate(stream_text(gateway, "Count to a thousand.")):
        print(piece, end="", flush=True)
        if number == 2:
            break
    print(" ... enough")


with create_gateway(providers=["openai"], default_model="gpt-4o-mini") as gateway:
    by_thread(gateway)
    asyncio.run(by_coroutine(gateway))
    only_the_beginning(gateway)
