"""Many prompts at once. Needs OPENAI_API_KEY, and tqdm for the bar (`pip install gatewayd[progress]`)."""

from gatewayd import batch_generate, create_gateway

TOPICS = ["artificial intelligence", "machine learning", "deep learning", "a neural network", "a gradient"]
prompts = [f"What is {topic}? One sentence." for topic in TOPICS]

# A failed call is tried again, here up to five times and with half a second between; the answers come in order.
with create_gateway(providers=["openai"], default_model="gpt-4o-mini", max_retries=5, retry_delay=0.5) as gateway:
    for topic, answer in zip(TOPICS, batch_generate(gateway, prompts, max_concurrency=4), strict=True):
        print(f"{topic}: {answer}")

    # What fails for good stands in the result instead of ending the batch.
    results = batch_generate(gateway, prompts, model="gpt-4o", return_exceptions=True, progress=True)
    failures = [result for result in results if isinstance(result, Exception)]
    print(f"{len(results) - len(failures)} answers, {len(failures)} failures")
