"""Which text is nearest to a question. Needs OPENAI_API_KEY."""

import math

from gatewayd import create_gateway, generate_embeddings

TEXTS = [
    "The harbour closes at ten in the evening.",
    "Bread is baked with flour, water, salt and yeast.",
    "A lighthouse shows ships where the land begins.",
]


def likeness(one: list[float], other: list[float]) -> float:
    """The cosine of the angle between two vectors."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


with create_gateway(providers=["openai"], default_model="text-embedding-3-small") as gateway:
    vectors = generate_embeddings(gateway, TEXTS)
    (question,) = generate_embeddings(gateway, "How do sailors find the coast at night?")

ranked = sorted(zip(TEXTS, vectors, strict=True), key=lambda pair: likeness(question, pair[1]), reverse=True)
for text, vector in ranked:
    print(f"{likeness(question, vector):.3f}  {text}")
